"""A whole domain held against MongoDB, whenever somebody asks.

reconcile    chunk by chunk, without staging
repair       just what differs, moved again
"""
