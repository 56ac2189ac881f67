"""Candidates evaluated by several processes, on this machine or on a cluster.

==============  ==============================================================================
``config``      what can be told: how many workers, of what size, where
``portable``    a model as plain arrays, which processes of one machine read without copying
``kit``         what all workers are made of
``notebook``    the ledger as a worker sees it
``remote``      the worker as it runs in another process
``cluster``     what the pool needs of an engine; ``ray_cluster`` is one
``pool``        hands candidates to free workers, replaces those that die, keeps the order
==============  ==============================================================================

Nothing here imports Ray but ``ray_cluster``, which only ``workers=ray`` loads.
"""
