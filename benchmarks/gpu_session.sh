#!/usr/bin/env bash
# A short visit to a machine with a GPU: CUDA tests, benchmarks and real searches, in under ten
# minutes, without a network when it runs from the kit of `make bundle`.
#
#   benchmarks/gpu_session.sh [--cpu-rehearsal] [--steps NAME,NAME] [RESULTS_FOLDER]
#
# --cpu-rehearsal  the same steps on the CPU in about two minutes: one benchmark of SmolLM2 on little
#                  text, the rest on a tiny random model
# --steps          some of cuda_tests, bench_smollm2, bench_7b, bench_7b_341k, search_50, search_24;
#                  a visit may come in parts, each adding its steps to the same folder
# PYTHON           interpreter (default python3); it has torch, unless the kit brings it
set -uo pipefail
names="cuda_tests bench_smollm2 bench_7b bench_7b_341k search_50 search_24"
rehearsal='' chosen=''
while [ $# -gt 0 ]; do
    case $1 in
        --cpu-rehearsal) rehearsal=yes; shift ;;
        --steps) chosen=${2:-}; shift $(($# < 2 ? $# : 2)); [ -n "$chosen" ] || chosen=none ;;
        -h | --help) sed -n '2,12s/^# \?//p' "$0"; exit 0 ;;
        *) break ;;
    esac
done
for name in ${chosen//,/ }; do
    case " $names " in *" $name "*) ;; *) echo "error: no step is called '$name': choose from $names" >&2; exit 2 ;; esac
done
source_dir=$(cd "$(dirname "$0")/.." && pwd)
kit=$(dirname "$source_dir")
results=${1:-$PWD/gpu_results_$(date -u +%Y-%m-%d_%H-%M-%S)}
python=${PYTHON:-python3}
taken=
for name in ${chosen//,/ }; do [ -e "$results/$name.log" ] && taken=yes; done
[ -z "$chosen" ] && [ -e "$results/summary.txt" ] && taken=yes
if [ -n "$taken" ]; then echo "error: $results already holds results: give another folder" >&2; exit 2; fi
mkdir -p "$results" && results=$(cd "$results" && pwd) || exit 2
cd "$source_dir" || exit 2

if [ -d "$kit/wheels" ]; then # in an unpacked kit: install from it, beside what the machine has
    wanted=$(cat "$kit/python-version")
    have=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 2
    if [ "$have" != "$wanted" ]; then
        echo "error: the kit is for Python $wanted and $python is $have: set PYTHON, or build the kit with PYTHON_VERSION=$have" >&2; exit 2
    fi
    export HF_HUB_OFFLINE=1 PRUNER_ZERO_CACHE="$kit/cache"
    if [ ! -e "$kit/site/.complete" ]; then
        "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-warn-conflicts --disable-pip-version-check \
            --upgrade --target "$kit/site" "$kit"/wheels/*.whl && touch "$kit/site/.complete" || exit 2
    fi
    export PYTHONPATH="$kit/site"
fi
export PYTHONPATH="$source_dir${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
"$python" -c 'import torch' || { echo "error: $python has no torch: set PYTHON, or build the kit with TORCH=1" >&2; exit 2; }
if [ -z "$rehearsal" ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: no CUDA device: use --cpu-rehearsal to try the steps without one" >&2; exit 2
fi

failed=0
step() { # step NAME SECONDS COMMAND...: run with a limit, keep the output, note how it ended
    local name=$1 limit=$2 start=$SECONDS status; shift 2
    case ",${chosen:-$name}," in *",$name,"*) ;; *) return ;; esac
    echo "== $name"
    echo "$ $*" >"$results/$name.log"
    timeout --signal=INT --kill-after=10 "$limit" "$@" >>"$results/$name.log" 2>&1
    status=$?
    [ $status -eq 0 ] || failed=1
    echo "$name: status $status, $((SECONDS - start)) s of at most $limit" | tee -a "$results/summary.txt"
}
pz() { echo "$python" -m pruner_zero; }

{
    echo "commit: $(git rev-parse HEAD 2>/dev/null || cat "$kit/commit" 2>/dev/null)"
    "$python" -c 'import json, torch
from pruner_zero.provenance import provenance
print(json.dumps(provenance("cuda" if torch.cuda.is_available() else "cpu"), indent=1))
print("cuda", torch.version.cuda)'
    command -v nvidia-smi >/dev/null && nvidia-smi
} >"$results/machine.txt" 2>&1

if [ -n "$rehearsal" ]; then
    small="device=cpu model=random-tiny"
    few="windows=2 length=64 calibration.sequences=2 calibration.length=64 public_sequences=1 repeats=1"
    step cuda_tests 60 "$python" -m pytest -m cuda -rs tests/model tests/search
    step bench_smollm2 180 $(pz) bench device=cpu $few "metrics=[pruner-zero]" "sparsity=[0.5]" output="$results/bench_smollm2"
    step bench_7b 40 $(pz) bench $small windows=2 length=64 public=false "metrics=[wanda,pruner-zero]" output="$results/bench_7b"
    step bench_7b_341k 40 $(pz) bench $small windows=4 length=64 public=false "metrics=[wanda]" "sparsity=[0.5]" repeats=1 output="$results/bench_7b_341k"
    search="device=cpu experiment=tiny ledger=off search.population_size=6 search.generations=2"
    step search_50 40 $(pz) search $search sparsity=0.5 hydra.run.dir="$results/search_50"
    step search_24 40 $(pz) search $search sparsity=2:4 "test.baselines=[wanda,pruner-zero]" hydra.run.dir="$results/search_24"
else
    big="device=cuda compile=true"
    step cuda_tests 60 "$python" -m pytest -m cuda -rs tests/model tests/search
    step bench_smollm2 90 $(pz) bench $big windows=16 "metrics=[wanda,pruner-zero,gblm,'mul(W,sqrt(G))@model']" output="$results/bench_smollm2"
    step bench_7b 90 $(pz) bench $big model=random-llama-7b windows=16 public=false "metrics=[wanda,pruner-zero]" repeats=2 output="$results/bench_7b"
    step bench_7b_341k 90 $(pz) bench $big model=random-llama-7b windows=167 public=false "metrics=[wanda]" "sparsity=[0.5]" repeats=1 output="$results/bench_7b_341k"
    # The wide space; every comparison scope at 50 %, where N:M has its groups.
    search="device=cuda ledger=off fitness=full fitness.compile=true operators=wide terminals=wide"
    search+=" search.population_size=100 search.generations=1000 search.minutes=1.1"
    search+=" search.constants=[0.5,2] search.tune.share=0.2 search.crossover_probability=0.5"
    search+=" search.mutation_probability=0.8 fitness.racing.place=3 fitness.racing.margin=0.15"
    search+=" calibration.sequences=32 validation.windows=8 validation.length=1024"
    search+=" test.windows=8 test.length=1024"
    # One window alone would be compiled apart from several.
    search+=" fitness.racing.rungs=[2,4,8,16]"
    scoped="search.seeds=[wanda@all,gradient@all,pruner-zero@all] search.scopes=[row,layer,block,model]"
    step search_50 135 $(pz) search $search $scoped sparsity=0.5 hydra.run.dir="$results/search_50"
    step search_24 135 $(pz) search $search "search.seeds=[wanda,gradient,gblm,ria,pruner-zero]" sparsity=2:4 "test.baselines=[wanda,pruner-zero]" hydra.run.dir="$results/search_24"
fi
echo "all steps: $SECONDS s" | tee -a "$results/summary.txt"
echo "results in $results; copy the folder into experiments/gpu/ and commit it"
exit $failed
