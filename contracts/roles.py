"""The actors. One name each, in code, subjects, documentation and console."""

from contracts.kit import Role

DSO = Role("dso")
HES = Role("hes")
METER = Role("meter")
GATEWAY = Role("gateway")
CEM = Role("cem")
APP = Role("app")
AGGREGATOR = Role("aggregator")
RETAILER = Role("retailer")
ESP = Role("esp")
"""Energy service provider: shapes tariffs and the power that is possible at connection points."""
FORECASTER = Role("forecaster")
"""Weather, generation, load and price expectations, for whoever asks."""
BUILDING = Role("building")
"""A building's or a quarter's manager over several CEMs: recommends, never commands (the French orchestrator)."""
EVSE = Role("evse")
HEATPUMP = Role("heatpump")
PV = Role("pv")
BATTERY = Role("battery")
WHITEGOODS = Role("whitegoods")
"""Washing machine, dishwasher, dryer: programmes of steps."""
WATERHEATER = Role("waterheater")
HVAC = Role("hvac")
FUELCELL = Role("fuelcell")
"""Fuel cell, micro-CHP or another generator that runs on order."""
SWITCH = Role("switch")
"""Relay, smart plug or light: on, off, dimmed."""
SUBMETER = Role("submeter")
"""Measures one circuit of the home; nothing to control."""
EV = Role("ev")
"""The car itself (ISO 15118 or its maker's cloud): it knows its battery and plans its own charging."""
OPS = Role("ops")
"""Operators' tools: console, recorder, command line. They listen; they speak for nobody."""

DEVICES = (EVSE, HEATPUMP, PV, BATTERY, WHITEGOODS, WATERHEATER, HVAC, FUELCELL, SWITCH, SUBMETER)
"""What joins a CEM as hardware. The car is no device of the home: it speaks with the CEM as a party of its own."""
ALL = (DSO, HES, METER, GATEWAY, CEM, APP, AGGREGATOR, RETAILER, ESP, FORECASTER, BUILDING, EV, *DEVICES, OPS)
