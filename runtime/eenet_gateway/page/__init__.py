"""The status page, `/healthz` and `/metrics`, on loopback.

Only reads the store; names and identifiers of patients never come here.
"""
