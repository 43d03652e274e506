"""Cases on their way into the network: checking, preparing, splitting, sampling."""
