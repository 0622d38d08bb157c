"""What serves the DAG itself: fingerprints, jobs, messages, profiles, captions."""
