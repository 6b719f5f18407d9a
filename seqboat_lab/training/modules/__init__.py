"""LightningModules, one per kind of head."""
