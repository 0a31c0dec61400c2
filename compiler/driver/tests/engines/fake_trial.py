"""In the place of `onnxc trial`: costs that follow from a schedule's text alone, at once."""

import hashlib
import json
import sys
import time


def measured(schedule):
    digest = hashlib.sha256(json.dumps(schedule, sort_keys=True).encode()).digest()
    return {"cost": 100.0 + digest[0], "spread": 0.0}


schedules = json.load(sys.stdin)["schedules"]
time.sleep(0.05)
answer = {"unit": "instructions", "measured": "nothing", "default": {"cost": 200.0, "spread": 0.0}}
print(json.dumps({**answer, "schedules": [{"Ok": measured(schedule)} for schedule in schedules]}))
