/* RFC 9113 section 4.1: a frame is 9 bytes of head (length 24 bits, type 8, flags 8, a reserved
 * bit, stream 31) and its payload. A state of a stream is kept in a ring by its number:
 *
 *   PASSED_OVER -- HEADERS --> OPEN -- END_STREAM, RST_STREAM --> OVER
 *
 * The ring holds the streams last_id, last_id - 2, ... as far as it reaches. */
#include "codec/h2_guard.h"

#include "base/bytes.h"

enum {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_PRIORITY = 2,
    FRAME_RST_STREAM = 3,
    FRAME_PUSH_PROMISE = 5,
    FRAME_WINDOW_UPDATE = 8,
    FRAME_CONTINUATION = 9,
};

enum {
    FLAG_END_STREAM = 0x1,
    FLAG_END_HEADERS = 0x4,
};

enum stream_state {
    STREAM_PASSED_OVER, /* a later one was opened first: it never can be */
    STREAM_OPEN,        /* or closed by us: what is on its way is ignored */
    STREAM_OVER,        /* nothing more may come from the client */
};

/* Go's and C-core's clients send at most two for a DATA frame they got, one of them for the whole
 * connection; they may be late, and a client may open its windows step by step. */
#define UPDATES_PER_DATA 8
#define UPDATES_PER_STREAM 8
#define UPDATES_MAX (UINT32_MAX / 2)

#define ID_MASK 0x7fffffffu
/* SETTINGS_MAX_FRAME_SIZE, which we do not change. nghttp2 does not look at it in CONTINUATION. */
#define FRAME_LEN_MAX 16384

/* ---- budgets ---------------------------------------------------------------------------- */

static void budget_init(struct h2_budget *budget, uint64_t burst, uint64_t per_sec)
{
    uint64_t cost = 1000000000 / per_sec;
    *budget = (struct h2_budget){.burst_ns = cost * burst, .cost_ns = cost};
}

/* The generic cell rate algorithm: each event costs time, and may run ahead by the burst. */
static bool budget_take(struct h2_budget *budget, uint64_t now)
{
    uint64_t base = budget->free_at > now ? budget->free_at : now;
    if (base + budget->cost_ns > now + budget->burst_ns) {
        return false;
    }
    budget->free_at = base + budget->cost_ns;
    return true;
}

static bool refuse(struct h2_verdict *out, enum h2_code code, const char *why)
{
    *out = (struct h2_verdict){.code = code, .why = why};
    return false;
}

static void updates_earn(struct h2_guard *guard, uint32_t count)
{
    guard->updates_left += guard->updates_left < UPDATES_MAX ? count : 0;
}

static bool update_take(struct h2_guard *guard, uint64_t now)
{
    if (guard->updates_left > 0) {
        guard->updates_left--;
        return true;
    }
    return budget_take(&guard->controls, now);
}

static bool pay(struct h2_guard *guard, uint8_t type, uint32_t len, uint64_t now,
                struct h2_verdict *out)
{
    switch (type) {
    case FRAME_HEADERS:
    case FRAME_CONTINUATION: /* nghttp2 counts them */
        return true;
    case FRAME_DATA:
        return len > 0 || budget_take(&guard->controls, now) ||
               refuse(out, H2_ENHANCE_YOUR_CALM, "too_many_empty_frames");
    case FRAME_RST_STREAM:
        return budget_take(&guard->resets, now) ||
               refuse(out, H2_ENHANCE_YOUR_CALM, "too_many_resets");
    case FRAME_WINDOW_UPDATE:
        return update_take(guard, now) ||
               refuse(out, H2_ENHANCE_YOUR_CALM, "too_many_window_updates");
    default:
        return budget_take(&guard->controls, now) ||
               refuse(out, H2_ENHANCE_YOUR_CALM, "too_many_control_frames");
    }
}

/* ---- streams ---------------------------------------------------------------------------- */

static uint8_t *state_of(struct h2_guard *guard, uint32_t id)
{
    return &guard->streams[id / 2 % GUARD_STREAMS];
}

static bool is_known(const struct h2_guard *guard, uint32_t id)
{
    return id % 2 == 1 && id <= guard->last_id && (guard->last_id - id) / 2 < GUARD_STREAMS;
}

/* HEADERS of a new stream: those between it and the last one are passed over. */
static void stream_open(struct h2_guard *guard, uint32_t id)
{
    uint32_t next = guard->last_id == 0 ? 1 : guard->last_id + 2;
    uint32_t first = (id - next) / 2 < GUARD_STREAMS ? next : id - 2 * (GUARD_STREAMS - 1);
    for (uint32_t passed = first; passed < id; passed += 2) {
        *state_of(guard, passed) = STREAM_PASSED_OVER;
    }
    guard->last_id = id;
    *state_of(guard, id) = STREAM_OPEN;
    updates_earn(guard, UPDATES_PER_STREAM);
}

/* RFC 9113 section 5.1: "An endpoint that receives any frames after receiving a frame with the
 * END_STREAM flag set" has a connection error STREAM_CLOSED; after RST_STREAM it may make one of
 * it (section 5.4.1). Section 5.1.1: an identifier that is not above the last is PROTOCOL_ERROR.
 * Idle and even streams are left to nghttp2. */
static bool stream_check(struct h2_guard *guard, uint8_t type, uint8_t flags, uint32_t id,
                         struct h2_verdict *out)
{
    bool is_message = type == FRAME_DATA || type == FRAME_HEADERS;
    if (!guard->is_server || (!is_message && type != FRAME_RST_STREAM)) {
        return true;
    }
    if (type == FRAME_HEADERS && id % 2 == 1 && id > guard->last_id) {
        stream_open(guard, id);
    }
    if (!is_known(guard, id)) {
        return true;
    }
    uint8_t *state = state_of(guard, id);
    if (is_message && *state == STREAM_OVER) {
        return refuse(out, H2_STREAM_CLOSED, "a frame on a stream that its client has ended");
    }
    if (is_message && *state == STREAM_PASSED_OVER) {
        return refuse(out, H2_PROTOCOL_ERROR, "a frame on a stream that was passed over");
    }
    if (type == FRAME_RST_STREAM || (flags & FLAG_END_STREAM) != 0) {
        *state = STREAM_OVER;
    }
    return true;
}

/* ---- heads ------------------------------------------------------------------------------ */

/* Told that we use no priorities (RFC 9218 section 2.1), nghttp2 looks at none. What is left of
 * them: RFC 9113 section 6.3, and the self-dependency of RFC 7540 section 5.3.1. */
static bool priority_check(const uint8_t *head, size_t head_len, uint32_t id,
                           struct h2_verdict *out)
{
    if (id == 0) {
        return refuse(out, H2_PROTOCOL_ERROR, "a priority of stream 0");
    }
    if (head_len == GUARD_HEAD_MAX && (get_be32(head + GUARD_HEAD_LEN) & ID_MASK) == id) {
        return refuse(out, H2_PROTOCOL_ERROR, "a stream that depends on itself");
    }
    return true;
}

static uint32_t payload_len(const uint8_t *head)
{
    return (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
}

/* The head of a PRIORITY frame, with what it depends on, is looked at as one. */
static size_t head_want(const uint8_t *head)
{
    bool has_dependency = head[3] == FRAME_PRIORITY && head[0] == 0 && head[1] == 0 && head[2] == 5;
    return has_dependency ? GUARD_HEAD_MAX : GUARD_HEAD_LEN;
}

static bool head_check(struct h2_guard *guard, const uint8_t *head, size_t head_len, uint64_t now,
                       struct h2_verdict *out)
{
    uint32_t len = payload_len(head);
    uint8_t type = head[3];
    uint8_t flags = head[4];
    uint32_t id = get_be32(head + 5) & ID_MASK;
    guard->skip = len - (uint32_t)(head_len - GUARD_HEAD_LEN);
    guard->type = type;
    if (len > FRAME_LEN_MAX) {
        return refuse(out, H2_FRAME_SIZE_ERROR, "a frame over SETTINGS_MAX_FRAME_SIZE");
    }
    /* Inside of a header block nghttp2 refuses all but its CONTINUATION. */
    if (!guard->in_block) {
        if (!stream_check(guard, type, flags, id, out)) {
            return false;
        }
        if (type == FRAME_PRIORITY && !priority_check(head, head_len, id, out)) {
            return false;
        }
    }
    if (type == FRAME_HEADERS || type == FRAME_PUSH_PROMISE || type == FRAME_CONTINUATION) {
        guard->in_block = (flags & FLAG_END_HEADERS) == 0;
        guard->blocks++;
    }
    return pay(guard, type, len, now, out);
}

void h2_guard_init(struct h2_guard *guard, bool is_server)
{
    *guard = (struct h2_guard){
        .is_server = is_server,
        .has_begun = !is_server,
        .skip = is_server ? H2_PREFACE_LEN : 0,
        .updates_left = H2_CONTROL_BURST,
        .type = UINT8_MAX,
    };
    budget_init(&guard->resets, H2_RESETS_BURST, H2_RESETS_PER_SEC);
    budget_init(&guard->controls, H2_CONTROL_BURST, H2_CONTROL_PER_SEC);
}

/* Gathers a head that comes in pieces; NULL: it is not whole yet. */
static const uint8_t *head_gather(struct h2_guard *guard, struct slice *in)
{
    size_t want = GUARD_HEAD_LEN;
    for (;;) {
        want = guard->head_len < GUARD_HEAD_LEN ? GUARD_HEAD_LEN : head_want(guard->head);
        size_t part = want - guard->head_len;
        if (part == 0) {
            return guard->head;
        }
        if (in->len == 0) {
            return NULL;
        }
        part = in->len < part ? in->len : part;
        memcpy(guard->head + guard->head_len, in->data, part);
        guard->head_len += (uint8_t)part;
        *in = slice_skip(*in, part);
    }
}

/* The head at the front of *in, which moves behind it: where it lies, or gathered. */
static const uint8_t *head_take(struct h2_guard *guard, struct slice *in, size_t *len_out)
{
    const uint8_t *head = in->data;
    if (guard->head_len == 0 && in->len >= GUARD_HEAD_MAX) {
        *len_out = head_want(head);
        *in = slice_skip(*in, *len_out);
        return head;
    }
    head = head_gather(guard, in);
    *len_out = guard->head_len;
    if (head != NULL) {
        guard->head_len = 0;
    }
    return head;
}

size_t h2_guard_pass(struct h2_guard *guard, struct slice in, uint64_t now_ns,
                     struct h2_verdict *out)
{
    size_t len = in.len;
    while (in.len > 0) {
        if (guard->skip > 0) {
            size_t part = in.len < guard->skip ? in.len : guard->skip;
            guard->skip -= (uint32_t)part;
            in = slice_skip(in, part);
        } else {
            size_t at = len - in.len;
            size_t head_len;
            const uint8_t *head = head_take(guard, &in, &head_len);
            if (head != NULL && !head_check(guard, head, head_len, now_ns, out)) {
                return at;
            }
        }
        guard->has_begun |= guard->skip == 0 && guard->type != UINT8_MAX;
    }
    return len;
}

size_t h2_guard_block(const struct h2_guard *guard, struct slice in, size_t *len_out)
{
    if (guard->head_len > 0) {
        return in.len;
    }
    size_t at = guard->skip;
    while (at <= in.len && in.len - at >= GUARD_HEAD_LEN) {
        size_t len = GUARD_HEAD_LEN + payload_len(in.data + at);
        if (in.data[at + 3] == FRAME_HEADERS && in.len - at >= len) {
            *len_out = len;
            return at;
        }
        at += len;
    }
    return in.len;
}

bool h2_guard_reset_sent(struct h2_guard *guard, uint64_t now_ns)
{
    return budget_take(&guard->resets, now_ns);
}

void h2_guard_data_sent(struct h2_guard *guard)
{
    updates_earn(guard, UPDATES_PER_DATA);
}

bool h2_guard_is_owed(const struct h2_guard *guard)
{
    bool in_block_payload =
        guard->skip > 0 && (guard->type == FRAME_HEADERS || guard->type == FRAME_CONTINUATION);
    return !guard->has_begun || guard->in_block || in_block_payload;
}
