"""Hands notifications of AWS IoT Secure Tunneling, as Greengrass receives them, to culvertd.

A notification holds a token: it goes by a pipe, never into an argument or the component's log.
"""

import os
import subprocess
import sys
import threading


def hand_over(culvertd, payload):
    """Hands one payload to the daemon. Returns whether the daemon accepted it."""
    done = subprocess.run([culvertd, "notify"], input=payload, capture_output=True, timeout=30, check=False)
    print((done.stdout or done.stderr).decode(errors="replace").strip(), flush=True)
    return done.returncode == 0


def main():
    from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
    from awsiot.greengrasscoreipc.model import QOS

    culvertd = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/culvertd"
    topic = f"$aws/things/{os.environ['AWS_IOT_THING_NAME']}/tunnels/notify"

    def received(event):
        try:
            hand_over(culvertd, event.message.payload)
        except (OSError, subprocess.SubprocessError) as problem:
            print(f"{culvertd} notify: {problem}", flush=True)

    client = GreengrassCoreIPCClientV2()
    client.subscribe_to_iot_core(
        topic_name=topic,
        qos=QOS.AT_LEAST_ONCE,
        on_stream_event=received,
        on_stream_error=lambda error: os._exit(1),  # the nucleus starts it anew
        on_stream_closed=lambda: os._exit(1),
    )
    print(f"waiting for {topic}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
