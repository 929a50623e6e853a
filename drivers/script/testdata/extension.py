#!/usr/bin/python3 -IB
"""An orchestrator extension as CloudStack 4.21 and later run them: argv is the action, a payload file, and seconds."""

import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request


class Refused(Exception):
    """What the backend said no to."""


class Backend:
    def __init__(self, payload):
        external = payload["externaldetails"]
        host, self.guest = external["host"], external["virtualmachine"]
        self.machine = payload["cloudstack.vm.details"]
        self.base = f"https://{host['url']}:8006/api2/json"
        self.node = f"/nodes/{host['node']}/qemu"
        self.bridge = host["network_bridge"]
        self.key = f"PVEAPIToken={host['user']}!{host['token']}={host['secret']}"
        self.number = self.machine["details"].get("proxmox_vmid", "")

    def ask(self, method, path, **form):
        request = urllib.request.Request(
            self.base + path, method=method, headers={"Authorization": self.key},
            data=urllib.parse.urlencode(form).encode() if form else None)
        try:
            with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Refused(f"{path}: {error.code}") from error

    def free(self):
        """Tells whether no machine has the number: what is gone is stopped, and deleted."""
        try:
            return self.ask("GET", f"/cluster/nextid?vmid={self.number}") == self.number
        except Refused:
            return False

    def prepare(self):
        return {"details": {"proxmox_vmid": self.ask("GET", "/cluster/nextid")}}

    def create(self):
        self.ask("POST", f"{self.node}/{self.guest['template_id']}/clone", newid=self.number, name=self.machine["name"])
        self.ask("POST", f"{self.node}/{self.number}/config", cores=self.machine["cpus"],
                 memory=self.machine["minRam"] >> 20)
        for number, nic in enumerate(self.machine["nics"]):
            tag = nic["broadcastUri"].removeprefix("vlan://")
            self.ask("PUT", f"{self.node}/{self.number}/config/",
                     **{f"net{number}": f"virtio={nic['mac']},bridge={self.bridge},tag={tag}"})
        return self.power("start")

    def power(self, verb):
        self.ask("POST", f"{self.node}/{self.number}/status/{verb}")
        return {"status": "success"}

    def status(self):
        state = self.ask("GET", f"{self.node}/{self.number}/status/current")["status"]
        return {"status": "success", "power_state": {"running": "poweron", "stopped": "poweroff"}.get(state, "unknown")}

    def delete(self):
        self.ask("DELETE", f"{self.node}/{self.number}")
        return {"status": "success"}


def main():
    action = sys.argv[1]
    assert int(sys.argv[3]) > 0
    with open(sys.argv[2], encoding="utf-8") as payload:
        backend = Backend(json.load(payload))
    known = {"prepare": backend.prepare, "create": backend.create, "status": backend.status, "delete": backend.delete}
    try:
        answer = known[action]() if action in known else backend.power(action)
    except Refused as refused:
        if action not in ("stop", "delete") or not backend.free():
            print(json.dumps({"error": str(refused)}))
            return 1
        answer = {"status": "success"}
    print(json.dumps(answer))
    return 0


sys.exit(main())
