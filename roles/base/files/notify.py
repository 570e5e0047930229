#!/usr/bin/python3 -I
"""Tell people that a unit failed: a line in the journal, then a mail and a webhook side by side.

Started by holdfast-notify@UNIT.service with the unit's name. Neither destination can delay or stop
the other; the exit status is 1 when one of those configured was not reached.

A unit that fails all the time is in the journal every time, and told a few times an hour.
"""

import datetime as dt
import http.client
import json
import os
import smtplib
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path

_CONFIG = "/etc/holdfast/notify.json"
_TIMEOUT = 15  # seconds that one read or write may take
_ATTEMPTS = 2
_MOST, _WITHIN = 6, 3600  # tellings of one unit, seconds
_CRITICAL, _ERROR, _INFO = 2, 3, 6


def _log(priority, text):
    print(f"<{priority}>{text}", file=sys.stderr, flush=True)


def _secret(path):
    return Path(path).read_text(encoding="utf-8").strip()


def _send_mail(config, report):
    mail = config["mail"]
    message = EmailMessage()
    message["Subject"] = "[holdfast] {host}: {unit} failed ({result})".format(**report)
    message["From"] = mail["sender"]
    message["To"] = ", ".join(mail["recipients"])
    message["Date"] = format_datetime(dt.datetime.fromisoformat(report["time"]))
    message["Message-ID"] = make_msgid(domain=mail["sender"].rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        "The unit {unit} on {host} failed with the result {result!r} at {time}.\n\n"
        "On the host, `journalctl --unit={unit}` shows why.\n".format(**report)
    )
    trust = ssl.create_default_context(cafile=config["ca_file"] or None)
    where = (mail["relay"], mail["port"])
    if mail["security"] == "tls":
        relay = smtplib.SMTP_SSL(*where, timeout=_TIMEOUT, context=trust)
    else:
        relay = smtplib.SMTP(*where, timeout=_TIMEOUT)
    with relay:
        if mail["security"] != "tls":
            relay.starttls(context=trust)
        if mail["user"]:
            relay.login(mail["user"], _secret(mail["password_file"]))
        refused = relay.send_message(message)
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token elsewhere: it is an error like any other."""

    def redirect_request(self, *_):
        return None


def _call_webhook(config, report):
    webhook = config["webhook"]
    headers = {"Content-Type": "application/json"}
    if webhook["token_file"]:
        headers["Authorization"] = f"Bearer {_secret(webhook['token_file'])}"
    opener = urllib.request.build_opener(
        _NoRedirect,
        urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=config["ca_file"] or None)
        ),
        urllib.request.ProxyHandler({"https": webhook["proxy"]} if webhook["proxy"] else {}),
    )
    request = urllib.request.Request(  # noqa: S310 - role base admits https only
        webhook["url"], data=json.dumps(report).encode(), headers=headers, method="POST"
    )
    with opener.open(request, timeout=_TIMEOUT):
        pass


def _attempt(send, config, report, outcome):
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(config["pause"])
        try:
            send(config, report)
        except (OSError, ValueError, smtplib.SMTPException, http.client.HTTPException) as error:
            outcome["error"] = f"{type(error).__name__}: {error}"
        else:
            outcome["sent"] = True
            return


def _is_due(unit, now):
    """Whether this telling is within the limit; it is counted then.

    systemd never runs two tellings of one unit side by side.
    """
    record = Path(os.environ["RUNTIME_DIRECTORY"], unit)
    try:
        told = [float(line) for line in record.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        told = []
    recent = [moment for moment in told if now - _WITHIN < moment <= now]
    if len(recent) >= _MOST:
        return False
    try:
        record.write_text("".join(f"{moment}\n" for moment in [*recent, now]), encoding="ascii")
    except OSError as error:  # Rather told too often than not at all.
        _log(_ERROR, f"not counted: {error}")
    return True


def main(unit, config_file=_CONFIG):
    result = os.environ.get("MONITOR_SERVICE_RESULT", "failed")
    _log(_CRITICAL, f"{unit} failed with the result {result!r}")
    if not _is_due(unit, time.time()):
        _log(_INFO, f"{unit}: told {_MOST} times within the hour, not told again")
        return
    config = json.loads(Path(config_file).read_text(encoding="utf-8"))
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    report = {"host": config["host"], "unit": unit, "result": result, "time": now}

    destinations = {}
    if config["mail"]["relay"]:
        destinations["mail"] = _send_mail
    if config["webhook"]["url"]:
        destinations["webhook"] = _call_webhook
    outcomes = {name: {} for name in destinations}
    threads = [
        threading.Thread(target=_attempt, args=(send, config, report, outcomes[name]), daemon=True)
        for name, send in destinations.items()
    ]
    end = time.monotonic() + config["deadline"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))

    for name, outcome in outcomes.items():
        if outcome.get("sent"):
            _log(_INFO, f"{name} about {unit} sent")
        else:
            reason = outcome.get("error", f"no answer within {config['deadline']} s")
            _log(_ERROR, f"{name} about {unit} not sent: {reason}")
    sys.stderr.flush()
    # A destination that still hangs must not keep the process.
    os._exit(0 if all(outcome.get("sent") for outcome in outcomes.values()) else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
