"""Verifies one message, which a file holds, by the library of Standard Webhooks."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="utf-8") as file:
    message = json.load(file)
try:
    Webhook(message["secret"]).verify(message["body"], message["headers"])
    print("verified")
except WebhookVerificationError as error:
    print(f"refused: {error}")
    sys.exit(1)
