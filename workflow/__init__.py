"""What serves the DAG itself: fingerprints, the table of stages, profiles, report captions."""
