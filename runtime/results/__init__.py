"""Results: records, pages and contact sheets of many explanations."""
