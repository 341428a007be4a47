"""Many runs: grids of settings, batches in one program, results and reports."""
