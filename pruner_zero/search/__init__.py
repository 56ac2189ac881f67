"""Evolution: DEAP individuals, variation, algorithms and the fitness worker."""
