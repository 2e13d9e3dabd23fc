"""How much the verifier finds: seeded corruptions of the target, the staged files and the source, and mutants of the mover."""
