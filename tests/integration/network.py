"""Machines on one network, as network namespaces: number 0 is the clients' and etcd's, 1 to N the nodes'.
Each has the address 10.77.X.NUMBER+1. Cutting one off costs root and iproute2; nothing else on the real
machine is touched.
"""
import os
import random
import re
import shutil
import subprocess


def why_not():
    """Why namespaces cannot be made here; empty if they can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    name = f"tr{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no right to make network namespaces ({made.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class Network:
    def __init__(self, nodes):
        self.name = f"tr{os.getpid()}x{random.randrange(1000)}"
        self.third = random.randrange(1, 255)
        self.numbers = range(nodes + 1)
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def make(self):
        for number in self.numbers:
            self.ip("netns", "add", self.namespace(number))
            self.at(number, "link", "set", "lo", "up")
        self.at(0, "link", "add", "bridge", "type", "bridge")
        self.at(0, "addr", "add", f"{self.host(0)}/24", "dev", "bridge")
        self.at(0, "link", "set", "bridge", "up")
        for number in self.numbers[1:]:
            self.at(0, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns",
                    self.namespace(number))
            self.at(0, "link", "set", f"to{number}", "master", "bridge", "up")
            self.at(number, "addr", "add", f"{self.host(number)}/24", "dev", "eth0")
            self.at(number, "link", "set", "eth0", "up")

    def close(self):
        for number in self.numbers:
            subprocess.run(["ip", "netns", "del", self.namespace(number)], capture_output=True,
                           check=False)

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    def at(self, number, *arguments):
        self.ip("-n", self.namespace(number), *arguments)

    def namespace(self, number):
        return f"{self.name}n{number}"

    def host(self, number):
        return f"10.77.{self.third}.{number + 1}"

    def inside(self, number):
        return ["ip", "netns", "exec", self.namespace(number)]

    # ---- What happens to it.

    def cut_off(self, number):
        """From everything."""
        self.at(0, "link", "set", f"to{number}", "down")

    def join(self, number):
        self.at(0, "link", "set", f"to{number}", "up")

    def drop(self, sender, receiver):
        """What one sends to the other is lost; the other direction stays."""
        self.at(sender, "route", "add", "blackhole", f"{self.host(receiver)}/32")

    def mend(self, sender, receiver):
        self.at(sender, "route", "del", "blackhole", f"{self.host(receiver)}/32")

    def lose(self, number, percent):
        """So much of what the machine sends is lost, at random, and nothing of what it is sent; why not,
        if that cannot be. On the bridge's side, so that the sender does not know. (Not every kernel has
        tc's netem; nftables can choose packets at random, too.)"""
        rules = f"""table netdev loss{number} {{
            chain lost {{
                type filter hook ingress device "to{number}" priority 0;
                numgen random mod 100 < {percent} counter drop
            }}
        }}"""
        done = subprocess.run([*self.inside(0), "nft", "-f", "-"], input=rules, capture_output=True,
                              text=True, check=False)
        return "" if done.returncode == 0 else done.stderr.strip()

    def lose_nothing(self, number):
        """From now on; how many packets were lost."""
        listed = subprocess.run([*self.inside(0), "nft", "list", "table", "netdev", f"loss{number}"],
                                check=True, capture_output=True, text=True).stdout
        subprocess.run([*self.inside(0), "nft", "delete", "table", "netdev", f"loss{number}"], check=True)
        return int(re.search(r"counter packets (\d+)", listed)[1])
