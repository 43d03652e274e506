"""What this machine has: processors and their quotas, threads, memory, GPUs.

Facts only, found without importing an engine. Nothing here knows of cases or models.
"""
