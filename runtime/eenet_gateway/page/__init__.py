"""The status page, `/healthz` and `/metrics`, on loopback, and the disk's housekeeping figures.

Only reads the store; names and identifiers of patients never come here.
"""
