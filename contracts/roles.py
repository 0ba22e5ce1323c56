"""The actors. One name each, in code, subjects, documentation and console."""

from contracts.kit import Role

DSO = Role("dso")
HES = Role("hes")
METER = Role("meter")
GATEWAY = Role("gateway")
CEM = Role("cem")
APP = Role("app")
AGGREGATOR = Role("aggregator")
EVSE = Role("evse")
HEATPUMP = Role("heatpump")
PV = Role("pv")
BATTERY = Role("battery")
OPS = Role("ops")
"""Operators' tools: console, recorder, command line. They listen; they speak for nobody."""

DEVICES = (EVSE, HEATPUMP, PV, BATTERY)
ALL = (DSO, HES, METER, GATEWAY, CEM, APP, AGGREGATOR, *DEVICES, OPS)
