"""The plan of one grid connection: pure. ``agents.cem.planner.solve.solve(problem)`` loads the solver when called."""
