"""The seven service domains of the platform, declared: which field becomes which column of which table."""
