"""Makes what a Python client sends: reads JSON lines, answers with packed bytes in base64.

``{"source": …}`` gives the blob of the function ``f`` that the source defines; ``{"args": …,
"deps": n}`` the arguments, in which ``{"$dep": i}`` stands for a dependency.
"""

import base64
import json
import sys

import cloudpickle

from taskloom.serialize import pack, serialize


class Dep:
    def __init__(self, number):
        self.number = number


def deps(value):
    if isinstance(value, dict) and list(value) == ["$dep"]:
        return Dep(value["$dep"])
    if isinstance(value, list):
        return [deps(one) for one in value]
    return value


def number(value):
    return value.number if isinstance(value, Dep) else None


for line in sys.stdin:
    asked = json.loads(line)
    if "source" in asked:
        scope = {"__name__": "__main__"}
        exec(asked["source"], scope)
        data = cloudpickle.dumps(scope["f"], protocol=5)
    else:
        call = (tuple(deps(asked["args"])), {})
        data = pack(*serialize(call, number if asked["deps"] else None))
    print(base64.b64encode(data).decode(), flush=True)
