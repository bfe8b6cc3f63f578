"""The planted faults that need PyMongo or a deployment, and their negative controls."""

from __future__ import absolute_import

from ..faults_base import by_name


def faults():
    """Return the class of each by name."""
    from . import faults_answers, faults_failover, faults_leaks, faults_workloads

    return by_name(faults_answers, faults_failover, faults_leaks, faults_workloads)


def store_of(workload):
    """Return the store of a workload. Raises ValueError if there is no deployment."""
    if workload.store is None:
        raise ValueError("this fault needs a deployment: set documents above 0")
    return workload.store
