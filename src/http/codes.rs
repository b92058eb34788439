//! Every code of a problem, once: its status, what causes it and what to do. `docs/api.md` has its
//! table from here.
//!
//! Invariants: a code that the program raises stands here under its status, and the other way round
//! (`tests/it/reference/codes.rs`).

/// A code of a problem under one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemCode {
    /// The HTTP status.
    pub status: u16,
    /// What programs branch on.
    pub code: &'static str,
    /// What causes it.
    pub cause: &'static str,
    /// What to do about it.
    pub way_out: &'static str,
}

const fn problem(
    status: u16,
    code: &'static str,
    cause: &'static str,
    way_out: &'static str,
) -> ProblemCode {
    ProblemCode { status, code, cause, way_out }
}

/// Every code, by status.
pub const PROBLEM_CODES: &[ProblemCode] = &[
    problem(
        400,
        "MALFORMED",
        "the body is empty, no JSON, no UTF-8, or ended early",
        "send the whole, valid document",
    ),
    problem(
        400,
        "REFUSED",
        "another fault of the request; also under other 4xx statuses",
        "`detail` says what",
    ),
    problem(
        401,
        "UNAUTHENTICATED",
        "no credential, two of them, or one that is unknown, expired or revoked",
        "send one valid key or token",
    ),
    problem(
        403,
        "FORBIDDEN",
        "the role lacks the permission, or the body names another user or mode than the \
         credential",
        "use another credential, or leave the field out",
    ),
    problem(
        403,
        "PROVISIONING_NOT_ALLOWED",
        "the module is not handed out this way",
        "see `provisioning` of the module in the catalog",
    ),
    problem(
        403,
        "NO_ROUTE",
        "forward-auth: no route of the catalog matches, and the default refuses",
        "add a route for the path, or open the default",
    ),
    problem(
        403,
        "TENANT_REQUIRED",
        "forward-auth: the route needs an active tenant, and the caller has none",
        "use a credential of a tenant",
    ),
    problem(
        403,
        "PATH_NOT_NORMAL",
        "forward-auth: the path is not in [normal form](forward-auth.md#paths), and is never \
         repaired",
        "ask for the path as it is written in the route",
    ),
    problem(
        403,
        "METHOD_NOT_NORMAL",
        "forward-auth: the method is not in [capital letters](forward-auth.md#paths)",
        "send it in capital letters",
    ),
    problem(
        403,
        "INVALID_FORWARDED_HEADERS",
        "forward-auth: the headers that say what was asked for are missing, doubled, lists or \
         contradict each other",
        "have the proxy send [one family of them](forward-auth.md#asking), once",
    ),
    problem(
        403,
        "UNTRUSTED_PROXY",
        "forward-auth: the request came from no address of `http.trusted_proxies`",
        "add the address of the proxy to the setting",
    ),
    problem(
        404,
        "TENANT_NOT_FOUND",
        "there is no such tenant, or it is not the caller's",
        "check the key; make the tenant",
    ),
    problem(
        404,
        "NOT_FOUND",
        "there is no such subscription, grant, override, request, seat, user entitlement, key or \
         version; or no catalog was applied yet",
        "check the path",
    ),
    problem(404, "UNKNOWN_PATH", "nothing is at this path", "see `/docs`"),
    problem(405, "METHOD_NOT_ALLOWED", "the path knows other methods", "see the header `Allow`"),
    problem(
        406,
        "NOT_ACCEPTABLE",
        "an `Accept` that names nothing that the answer can be written in",
        "leave it out, or name what the message lists",
    ),
    problem(
        408,
        "TIMEOUT",
        "the body didn't arrive in time",
        "send it faster; the connection is closed",
    ),
    problem(
        409,
        "ALREADY_REDEEMED",
        "the tenant has redeemed this code before",
        "ask for another code",
    ),
    problem(
        409,
        "ALREADY_ON_PLAN",
        "the tenant has the plan of the code already, for at least as long",
        "keep the code for later",
    ),
    problem(
        409,
        "TENANT_BLOCKED",
        "a code can't be redeemed while the tenant or its subscription is suspended, or unpaid",
        "settle that first",
    ),
    problem(
        409,
        "ALREADY_EXISTS",
        "a tenant with this key exists, or the user has this entitlement already",
        "change it with `PATCH`",
    ),
    problem(
        409,
        "NOT_A_SANDBOX",
        "only a sandbox tenant has a clock of its own",
        "make a tenant with `\"sandbox\": true`",
    ),
    problem(409, "NO_SEAT_AVAILABLE", "all seats are allocated", "release one, or buy more"),
    problem(
        409,
        "SEAT_ALREADY_ALLOCATED",
        "the user who is to get the seat has one",
        "name another user",
    ),
    problem(
        409,
        "SEATS_IN_USE",
        "more seats are allocated than the grant would leave",
        "release some first, or send `\"release\": \"newest\"`",
    ),
    problem(409, "USER_ENTITLEMENT_ENDED", "it was revoked or has expired", "grant a new one"),
    problem(409, "OVERRIDE_ENDED", "the override has expired or was removed", "make a new one"),
    problem(
        409,
        "OVERRIDE_CHANGED",
        "the override that a proposal was written for has changed since",
        "decline it, write the change anew",
    ),
    problem(409, "OWN_REQUEST", "who asked can't approve", "have somebody else decide"),
    problem(
        409,
        "REQUEST_CLOSED",
        "the request was decided, withdrawn, or has run out",
        "make a new one",
    ),
    problem(
        409,
        "REQUEST_OPEN",
        "the same caller's request for this key waits already; `detail` names it",
        "withdraw it first",
    ),
    problem(
        409,
        "TOO_MANY_REQUESTS",
        "100 requests of this tenant wait",
        "have some decided or withdrawn",
    ),
    problem(
        409,
        "CONTEXT_IN_USE",
        "something stands below the context, or somebody holds a role on it; `detail` names one",
        "move or remove that first",
    ),
    problem(409, "TOO_MANY_CONTEXTS", "the tenant has 100,000 contexts", "remove some"),
    problem(
        409,
        "TOO_MANY_ROLES",
        "the user holds 1,000 roles there",
        "remove some, or assign one higher up",
    ),
    problem(
        409,
        "API_KEY_EXPIRED",
        "the key that is to be rotated has expired",
        "give it another `expires_at`",
    ),
    problem(409, "API_KEY_REVOKED", "the key that is to be rotated is revoked", "make another key"),
    problem(
        409,
        "DRY_RUN_OUTDATED",
        "the write, the catalog or the rollout has changed since the first page of the dry run",
        "begin again without `cursor`",
    ),
    problem(409, "TOO_MANY_WEBHOOKS", "there are as many webhooks as there may be", "delete one"),
    problem(
        409,
        "WEBHOOK_DISABLED",
        "a disabled webhook is sent nothing",
        "enable it with `PATCH` first",
    ),
    problem(
        409,
        "TOO_MANY_RESERVATIONS",
        "1,000 reservations of this feature are open",
        "settle or release some",
    ),
    problem(
        409,
        "SUBSCRIPTION_CLOSED",
        "the subscription has ended, and history is not rewritten",
        "assign a plan",
    ),
    problem(
        409,
        "RESERVATION_SETTLED",
        "the reservation was settled already",
        "correct the count with `POST /api/v1/usage`",
    ),
    problem(
        409,
        "RESERVATION_RELEASED",
        "the reservation was released",
        "consume what was used, or reserve again",
    ),
    problem(
        409,
        "RESERVATION_EXPIRED",
        "the time of the reservation is over",
        "consume what was used, or reserve again with a longer `ttl_seconds`",
    ),
    problem(
        412,
        "PRECONDITION_FAILED",
        "`If-Match` names an older state",
        "read again, repeat the change",
    ),
    problem(
        413,
        "BODY_TOO_LARGE",
        "more than `limits.body_bytes` (64 KiB), or than `limits.large_body_bytes` (1 MiB) for catalogs, batches, imports, routes and the rollout",
        "split the batch",
    ),
    problem(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        "another `Content-Type`, or an encoded body",
        "send `application/json`, for the catalog also `application/yaml`, for legacy maps also `text/csv`",
    ),
    problem(
        422,
        "INVALID_VALUE",
        "a field or parameter is unknown, missing, there twice, or wrong",
        "`fields` names each one",
    ),
    problem(
        422,
        "UNKNOWN_KEY",
        "the catalog has no such module, feature, bundle, plan or role",
        "`fields` names the nearest keys",
    ),
    problem(
        422,
        "CATALOG_INVALID",
        "the catalog has faults",
        "`fields` names all of them, each by its place in the document",
    ),
    problem(
        422,
        "KEY_IN_USE",
        "the new catalog lacks something that is still used",
        "`fields` says what uses it and how to go on",
    ),
    problem(
        422,
        "NOT_SEATED",
        "nothing about the key is seated, so nobody needs a seat",
        "leave it",
    ),
    problem(
        422,
        "IDEMPOTENCY_KEY_REUSED",
        "the key came before with another request",
        "use a new key",
    ),
    problem(
        422,
        "INVALID_ACTIVATION_CODE",
        "the code is wrong, spent, expired or revoked",
        "check it, or ask for another one",
    ),
    problem(
        429,
        "RATE_LIMITED",
        "too many codes were wrong, or the caller sent [more than it \
         may](security.md#rate-limits)",
        "wait as `Retry-After` says, then repeat",
    ),
    problem(500, "INTERNAL", "a fault of the service", "report the `request_id`"),
    problem(
        503,
        "OVERLOADED",
        "too many changes wait, or too many connections are open",
        "wait as `Retry-After` says, then repeat",
    ),
    problem(
        503,
        "STORAGE_FULL",
        "the disk is full; nothing was changed, reads go on",
        "repeat as `Retry-After` says; it works again as soon as there is room",
    ),
    problem(
        503,
        "STORAGE_READ_ONLY",
        "the file system takes no changes; the same",
        "the same; tell the operator",
    ),
    problem(
        503,
        "STORAGE_FAILING",
        "the disk refused the change, or a read; the same",
        "the same; tell the operator",
    ),
    problem(
        503,
        "STORAGE_HELD",
        "another program holds the database; the same",
        "the same; tell the operator",
    ),
    problem(
        503,
        "STORAGE_UNREADABLE",
        "what was asked for can't be read from the disk, or the database is damaged; the same",
        "the same; tell the operator, who asks `entitled doctor`",
    ),
    problem(
        503,
        "UNAVAILABLE",
        "the service is stopping, not ready, or can't write",
        "repeat later; where the text says that the outcome is not known, read the state first",
    ),
    problem(
        503,
        "TIMEOUT",
        "the request took too long inside; a change may have been made",
        "read the state first, and repeat what isn't there",
    ),
    problem(
        503,
        "TENANT_DAMAGED",
        "rows of this one tenant can't be read",
        "tell the operator; other tenants work on",
    ),
];
