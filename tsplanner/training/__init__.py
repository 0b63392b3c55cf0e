"""The worker: one code path for probe, trial and full run. The only torch importer here."""
