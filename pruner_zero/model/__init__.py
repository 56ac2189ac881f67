"""The transformer side: loading, statistics, masks, pruning and perplexity."""
