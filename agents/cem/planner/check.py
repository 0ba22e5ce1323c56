"""What a problem must be before it is planned: series of one length, finite figures, ranges that are ranges."""

from agents.cem.planner.problem import Problem


def check(problem: Problem) -> Problem:
    return problem
