/* nghttp2 does the protocol. What is added here:
 *
 *   - our allocator (h2_mem.h);
 *   - DATA by reference: pull() promises a length, write() moves the bytes behind the frame header;
 *   - limits on header blocks;
 *   - budgets, and what a peer may not say on a stream that is over (h2_guard.h);
 *   - the server's check of header blocks (h2_fields.h) and of content-length against DATA;
 *   - a memory of header blocks, so that one that comes again costs little (h2_memo.h), and one
 *     that goes out again (h2_usual.h);
 *   - RST_STREAM(NO_ERROR) after a complete answer to a request that is not complete, as
 *     RFC 9113 section 8.1 allows and grpc-go does.
 *
 * CONTINUATION frames: nghttp2 itself ends a session after 8 of them in one header block (Debian's
 * 1.52 has the fix of CVE-2024-28182). SETTINGS and PING acknowledgements that the peer does not
 * read are bounded by nghttp2 too (1000). */
#include "codec/h2.h"

#include "base/coll.h"
#include "base/mem.h"
#include "codec/h2_fields.h"
#include "codec/h2_guard.h"
#include "codec/h2_mem.h"
#include "codec/h2_memo.h"
#include "codec/h2_usual.h"

#define FIELDS_MAX 512
#define FRAME_HEAD_LEN 9

/* What nghttp2 hands back for a stream, from open() or h2_request() until closed(). */
struct h2_stream {
    struct list link; /* h2->streams */
    void *owner;
    uint64_t length_left; /* of the content-length; H2_LENGTH_NONE: none was given */
    bool is_malformed;    /* reset for it: what still comes is not told */
    bool head_is_usual;   /* its next header block is h2->usual_head, nghttp2's is empty */
    bool end_is_usual;    /* its last DATA frame has h2->usual_trailers behind it */
};

struct h2 {
    nghttp2_session *session;
    struct h2_handler handler;
    void *ctx;
    struct h2_options options;
    struct outq *out; /* while h2_send() runs */
    size_t out_limit;
    uint64_t now_ns;
    struct h2_guard guard;
    struct list streams;
    uint32_t block_bytes; /* of the header block being received */
    uint32_t block_count;
    struct h2_stream *block_stream; /* whose block it is; NULL: nobody's */
    struct h2_fields fields;        /* the same, server only */
    struct h2_memo memo;
    const struct h2_known *known; /* the block of the frame being received came before */
    struct slice fresh_block;     /* it did not, and may be remembered; else empty */
    struct h2_usual usual_head;
    struct h2_usual usual_trailers;
    int32_t head_taught_by; /* stream whose next header block is usual_head as nghttp2 encodes it */
    int32_t trailers_taught_by;
    bool has_new_window; /* SETTINGS_INITIAL_WINDOW_SIZE came, and nothing has been sent since */
    bool is_over;        /* terminated by us or by a fatal error: input is ignored */
};

/* ---- streams ---------------------------------------------------------------------------- */

static struct h2_stream *stream_of(struct h2 *h2, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(h2->session, id);
}

static struct h2_stream *stream_new(struct h2 *h2, void *owner)
{
    struct h2_stream *stream = h2_mem_zalloc(h2->options.memory, sizeof(*stream));
    stream->owner = owner;
    stream->length_left = H2_LENGTH_NONE;
    list_add_tail(&h2->streams, &stream->link);
    return stream;
}

static void stream_free(struct h2 *h2, struct h2_stream *stream)
{
    list_del(&stream->link);
    h2_mem_free(h2->options.memory, stream);
}

static void stream_close(struct h2 *h2, int32_t id, uint32_t code)
{
    struct h2_stream *stream = stream_of(h2, id);
    if (stream != NULL) {
        void *owner = stream->owner;
        nghttp2_session_set_stream_user_data(h2->session, id, NULL);
        if (h2->block_stream == stream) {
            h2->block_stream = NULL;
        }
        stream_free(h2, stream);
        h2->handler.closed(owner, code);
    }
}

/* RFC 9113 section 8.1.1: malformed is an error of the stream. */
static void malformed(struct h2 *h2, int32_t id)
{
    struct h2_stream *stream = stream_of(h2, id);
    if (stream != NULL) {
        stream->is_malformed = true;
    }
    nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
}

/* ---- header blocks ---------------------------------------------------------------------- */

static void *stream_open(struct h2 *h2, int32_t id)
{
    if (h2->known == NULL) {
        return h2->handler.open(h2->ctx, id);
    }
    h2->fields = h2->known->fields;
    return h2->handler.open_known(h2->ctx, id, h2->known->kept);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    h2->block_bytes = 0;
    h2->block_count = 0;
    bool is_request =
        frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    h2_fields_init(&h2->fields, !is_request);
    if (!is_request) {
        h2->block_stream = stream_of(h2, frame->hd.stream_id);
        return 0;
    }
    h2->block_stream = NULL;
    int32_t id = frame->hd.stream_id;
    void *owner = h2->is_over ? NULL : stream_open(h2, id);
    if (owner == NULL) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    h2->block_stream = stream_new(h2, owner);
    nghttp2_session_set_stream_user_data(session, id, h2->block_stream);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct h2 *h2 = user;
    struct slice field_name = slice_of(name, name_len);
    struct slice field_value = slice_of(value, value_len);
    UNUSED(flags);
    h2->block_count++;
    h2->block_bytes += (uint32_t)(name_len + value_len + 32);
    if (h2->block_bytes > h2->options.header_bytes_max ||
        h2->block_count > h2->options.header_count_max) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_FRAME_SIZE_ERROR);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (!h2->options.is_client && !h2_fields_add(&h2->fields, field_name, field_value)) {
        malformed(h2, frame->hd.stream_id);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (h2->block_stream != NULL) {
        h2->handler.field(h2->block_stream->owner, field_name, field_value);
    }
    return 0;
}

/* END_STREAM before the content-length is reached. */
static bool is_short(const struct h2_stream *stream)
{
    return stream->length_left != H2_LENGTH_NONE && stream->length_left != 0;
}

static void on_headers_done(struct h2 *h2, struct h2_stream *stream, const nghttp2_frame *frame)
{
    bool is_first =
        frame->headers.cat == NGHTTP2_HCAT_REQUEST || frame->headers.cat == NGHTTP2_HCAT_RESPONSE;
    /* A client's final response after a 1xx one, and trailers, both have category HEADERS; both
     * are told apart by who has seen a final status. Trailers always end the stream. */
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!h2->options.is_client && !h2_fields_finish(&h2->fields, is_end)) {
        malformed(h2, frame->hd.stream_id);
        return;
    }
    if (is_first) {
        stream->length_left = h2->fields.length;
    }
    h2->handler.headers(stream->owner, !is_first && is_end);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && h2->fresh_block.len > 0) {
        void *kept = h2->handler.keep(stream->owner);
        if (kept != NULL) {
            h2_memo_learn(&h2->memo, h2->fresh_block, &h2->fields, kept);
        }
    }
}

static void on_message_frame(struct h2 *h2, const nghttp2_frame *frame)
{
    int32_t id = frame->hd.stream_id;
    struct h2_stream *stream = stream_of(h2, id);
    if (stream == NULL || stream->is_malformed) {
        return;
    }
    bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (is_end && is_short(stream)) {
        malformed(h2, id);
        return;
    }
    if (frame->hd.type == NGHTTP2_HEADERS) {
        on_headers_done(h2, stream, frame);
    }
    if (is_end && !stream->is_malformed) {
        h2->handler.end(stream->owner);
    }
}

/* ---- other events ----------------------------------------------------------------------- */

static bool has_setting(const nghttp2_settings *settings, int32_t id)
{
    for (size_t i = 0; i < settings->niv; i++) {
        if (settings->iv[i].settings_id == id) {
            return true;
        }
    }
    return false;
}

static void usual_forget(struct h2 *h2)
{
    h2_usual_forget(&h2->usual_head);
    h2_usual_forget(&h2->usual_trailers);
}

static void on_settings(struct h2 *h2, const nghttp2_settings *settings)
{
    if (has_setting(settings, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)) {
        h2->has_new_window = true;
    }
    if (has_setting(settings, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE)) {
        usual_forget(h2);
    }
}

static void on_goaway(struct h2 *h2, const nghttp2_goaway *goaway)
{
    if (h2->handler.goaway != NULL) {
        h2->handler.goaway(h2->ctx, goaway->last_stream_id, goaway->error_code,
                           slice_of(goaway->opaque_data, goaway->opaque_data_len));
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    UNUSED(session);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        on_message_frame(h2, frame);
        break;
    case NGHTTP2_SETTINGS:
        on_settings(h2, &frame->settings);
        break;
    case NGHTTP2_PING:
        if (h2->handler.ping != NULL) {
            h2->handler.ping(h2->ctx, (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0);
        }
        break;
    case NGHTTP2_GOAWAY:
        on_goaway(h2, &frame->goaway);
        break;
    default:
        break;
    }
    return 0;
}

/* Counts `len` bytes of DATA against the content-length. False: more than was said. */
static bool length_take(struct h2_stream *stream, size_t len)
{
    if (stream->length_left == H2_LENGTH_NONE) {
        return true;
    }
    if (len > stream->length_left) {
        return false;
    }
    stream->length_left -= len;
    return true;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *user)
{
    struct h2 *h2 = user;
    struct h2_stream *stream = stream_of(h2, id);
    UNUSED(flags);
    if (stream != NULL && !stream->is_malformed && !length_take(stream, len)) {
        malformed(h2, id);
    }
    if (stream == NULL || stream->is_malformed ||
        h2->handler.data(stream->owner, slice_of(data, len))) {
        nghttp2_session_consume(session, id, len);
    } else {
        /* What one stream keeps must not stop the others. */
        nghttp2_session_consume_connection(session, len);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    UNUSED(session);
    stream_close(user, id, code);
    return 0;
}

/* RFC 9113 section 6.9.2: a changed initial window that takes a stream over the maximum is an error
 * of the connection; nghttp2 makes one of the stream of it. */
static void on_reset_send(struct h2 *h2, uint32_t code)
{
    if (code == NGHTTP2_FLOW_CONTROL_ERROR && h2->has_new_window) {
        h2_terminate(h2, H2_FLOW_CONTROL_ERROR, "the initial window takes a stream over 2^31 - 1");
    } else if (code != NGHTTP2_NO_ERROR && !h2_guard_reset_sent(&h2->guard, h2->now_ns)) {
        h2_terminate(h2, H2_ENHANCE_YOUR_CALM, "too_many_resets");
    }
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h2 = user;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        on_reset_send(h2, frame->rst_stream.error_code);
        return 0;
    }
    if (frame->hd.type == NGHTTP2_DATA) {
        h2_guard_data_sent(&h2->guard);
    }
    bool is_end = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                  (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (is_end && !h2->options.is_client &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_NO_ERROR);
    }
    return 0;
}

/* Queued and never sent: a request that met a GOAWAY, or whose headers did not fit. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *user)
{
    struct h2 *h2 = user;
    UNUSED(session);
    UNUSED(error);
    if (h2->options.is_client && frame->hd.type == NGHTTP2_HEADERS &&
        frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        stream_close(h2, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    }
    return 0;
}

/* ---- bodies ---------------------------------------------------------------------------- */

/* Whether the trailers can leave behind this DATA frame, in the same write: on_send_data() follows
 * at once unless the output is full. */
static bool usual_fits(const struct h2 *h2, size_t len)
{
    return len > 0 && h2->out->len < h2->out_limit && h2_usual_is_known(&h2->usual_trailers);
}

static void usual_end(struct h2 *h2, struct h2_stream *stream, int32_t id, size_t len,
                      uint32_t *flags)
{
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (usual_fits(h2, len)) {
        stream->end_is_usual = true;
        return;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    h2_trailers(h2, id, h2->usual_trailers.fields, h2->usual_trailers.count);
    h2->trailers_taught_by = id;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *data, size_t max,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2 *h2 = user;
    UNUSED(session);
    UNUSED(data);
    UNUSED(source);
    struct h2_stream *stream = stream_of(h2, id);
    if (stream == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    size_t len = 0;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    switch (h2->handler.pull(stream->owner, max, &len)) {
    case H2_PULL_MORE:
        ASSERT(len > 0);
        break;
    case H2_PULL_WAIT:
        return NGHTTP2_ERR_DEFERRED;
    case H2_PULL_END:
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        break;
    case H2_PULL_TRAILERS:
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        break;
    case H2_PULL_USUAL:
        usual_end(h2, stream, id, len, flags);
        break;
    case H2_PULL_FAIL:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    ASSERT(len <= max);
    return (ssize_t)len;
}

/* RFC 9113 section 6.2: a HEADERS frame with both pieces as its block. */
static void headers_append(struct outq *out, uint8_t flags, int32_t id, struct slice first,
                           struct slice second)
{
    size_t len = first.len + second.len;
    uint8_t head[FRAME_HEAD_LEN] = {
        (uint8_t)(len >> 16),
        (uint8_t)(len >> 8),
        (uint8_t)len,
        NGHTTP2_HEADERS,
        flags | NGHTTP2_FLAG_END_HEADERS,
    };
    put_be32(head + 5, (uint32_t)id);
    outq_append(out, head, sizeof(head));
    outq_append(out, first.data, first.len);
    outq_append(out, second.data, second.len);
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t len, nghttp2_data_source *source, void *user)
{
    struct h2 *h2 = user;
    UNUSED(session);
    UNUSED(source);
    ASSERT(h2->out != NULL);
    ASSERT(frame->data.padlen == 0);
    struct h2_stream *stream = stream_of(h2, frame->hd.stream_id);
    if (stream == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (h2->out->len >= h2->out_limit) {
        /* One call of mem_send sends DATA frames until it has something else to return: this is
         * the only place to stop it. The frame waits, with the bytes that pull() promised. */
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    uint8_t own_head[FRAME_HEAD_LEN];
    memcpy(own_head, head, sizeof(own_head));
    if (stream->end_is_usual) {
        own_head[4] &= (uint8_t)~NGHTTP2_FLAG_END_STREAM;
    }
    outq_append(h2->out, own_head, sizeof(own_head));
    if (len > 0) {
        uint64_t before = h2->out->len;
        h2->handler.write(stream->owner, h2->out, len);
        ASSERT(h2->out->len == before + len);
    }
    if (stream->end_is_usual) {
        const struct h2_usual *usual = &h2->usual_trailers;
        ASSERT(h2_usual_is_known(usual));
        headers_append(h2->out, NGHTTP2_FLAG_END_STREAM, frame->hd.stream_id, SLICE_EMPTY,
                       slice_of(usual->bytes, usual->len));
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------------ */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *callbacks;
    int rv = nghttp2_session_callbacks_new(&callbacks);
    ASSERT(rv == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    return callbacks;
}

static nghttp2_option *option_new(bool is_client)
{
    nghttp2_option *option;
    int rv = nghttp2_option_new(&option);
    ASSERT(rv == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    /* nghttp2's own limit would say INTERNAL_ERROR: it stands behind ours. */
    nghttp2_option_set_stream_reset_rate_limit(option, 4 * H2_RESETS_BURST, 4 * H2_RESETS_PER_SEC);
    if (is_client) {
        /* A grpc-message may end in a blank: grpc-go sends it as it is. */
        nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
    } else {
        nghttp2_option_set_no_http_messaging(option, 1); /* h2_fields.h instead */
    }
    return option;
}

static void submit_settings(struct h2 *h2)
{
    nghttp2_settings_entry entries[6];
    size_t count = 0;
    entries[count++] =
        (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h2->options.stream_window};
    entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
                                                h2->options.header_bytes_max};
    if (h2->options.is_client) {
        entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    } else {
        /* RFC 9218 instead of dependency trees: cheaper, and urgency does what we need. */
        entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
        if (h2->options.streams_max != UINT32_MAX) {
            entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                                        h2->options.streams_max};
        }
    }
    int rv = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, entries, count);
    ASSERT(rv == 0);
}

struct h2 *h2_new(const struct h2_options *options, const struct h2_handler *handler, void *ctx)
{
    struct h2 *h2 = NEW(struct h2);
    h2->handler = *handler;
    h2->ctx = ctx;
    h2->options = *options;
    list_init(&h2->streams);
    h2_guard_init(&h2->guard, !options->is_client);
    h2_memo_init(&h2->memo, handler->drop);
    h2_usual_init(&h2->usual_head, options->usual.head, options->usual.head_count);
    h2_usual_init(&h2->usual_trailers, options->usual.trailers, options->usual.trailers_count);
    nghttp2_session_callbacks *callbacks = callbacks_new();
    nghttp2_option *option = option_new(options->is_client);
    nghttp2_mem mem = h2_mem_of(options->memory);
    int rv = options->is_client
                 ? nghttp2_session_client_new3(&h2->session, callbacks, h2, option, &mem)
                 : nghttp2_session_server_new3(&h2->session, callbacks, h2, option, &mem);
    ASSERT(rv == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    submit_settings(h2);
    rv = nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                               (int32_t)options->connection_window);
    ASSERT(rv == 0);
    return h2;
}

void h2_free(struct h2 **h2_ptr)
{
    struct h2 *h2 = *h2_ptr;
    if (h2 == NULL) {
        return;
    }
    ASSERT(h2->out == NULL);
    nghttp2_session_del(h2->session);
    h2_memo_forget(&h2->memo);
    while (!list_empty(&h2->streams)) {
        stream_free(h2, CONTAINER_OF(h2->streams.next, struct h2_stream, link));
    }
    mem_free(h2);
    *h2_ptr = NULL;
}

/* ---- bytes ----------------------------------------------------------------------------- */

static void feed(struct h2 *h2, struct slice in)
{
    while (in.len > 0 && !h2->is_over) {
        ssize_t taken = nghttp2_session_mem_recv(h2->session, in.data, in.len);
        if (taken < 0) {
            /* A bad preface, or more to acknowledge than nghttp2 keeps: no more is understood. */
            if (taken == NGHTTP2_ERR_FLOODED) {
                h2_terminate(h2, H2_ENHANCE_YOUR_CALM, "too_many_control_frames");
            }
            h2->is_over = true;
            break;
        }
        in = slice_skip(in, (size_t)taken);
    }
}

/* RFC 9113 section 6.2: a HEADERS frame, whole. `is_new`: the first of its stream. */
static void feed_block(struct h2 *h2, struct slice frame, bool is_new)
{
    struct slice block = slice_skip(frame, FRAME_HEAD_LEN);
    uint8_t flags = frame.data[4];
    bool is_plain = (flags & ~(unsigned)NGHTTP2_FLAG_END_STREAM) == NGHTTP2_FLAG_END_HEADERS;
    if (!is_plain || block.len > H2_MEMO_BLOCK_MAX) {
        h2_memo_forget(&h2->memo);
        feed(h2, frame);
        return;
    }
    h2->known = is_new ? h2_memo_find(&h2->memo, block) : NULL;
    if (h2->known != NULL) {
        uint8_t head[FRAME_HEAD_LEN] = {0}; /* no payload */
        memcpy(head + 3, frame.data + 3, sizeof(head) - 3);
        feed(h2, slice_of(head, sizeof(head)));
        h2->known = NULL;
        return;
    }
    bool is_neutral = h2_memo_is_neutral(block);
    if (!is_neutral) {
        h2_memo_forget(&h2->memo);
    }
    h2->fresh_block = is_new && is_neutral ? block : SLICE_EMPTY;
    feed(h2, frame);
    h2->fresh_block = SLICE_EMPTY;
}

/* What the guard lets pass of `in`: one HEADERS frame, or whatever is in front of the next. */
static size_t feed_next(struct h2 *h2, struct slice in, uint64_t now_ns, struct h2_verdict *out,
                        bool *is_refused)
{
    size_t len = 0;
    size_t at = h2->handler.keep == NULL ? in.len : h2_guard_block(&h2->guard, in, &len);
    uint32_t last_id = h2->guard.last_id;
    uint64_t blocks = h2->guard.blocks;
    in.len = at > 0 ? at : len;
    bool is_block = at == 0 && !h2->guard.in_block;
    size_t passed = h2_guard_pass(&h2->guard, in, now_ns, out);
    *is_refused = passed < in.len;
    in.len = passed;
    if (is_block && !*is_refused) {
        feed_block(h2, in, h2->guard.last_id > last_id);
        return passed;
    }
    if (h2->guard.blocks != blocks) {
        h2_memo_forget(&h2->memo); /* not in one piece */
    }
    feed(h2, in);
    return passed;
}

FALLIBLE h2_recv(struct h2 *h2, struct slice in, uint64_t now_ns)
{
    struct h2_verdict verdict;
    bool is_refused = false;
    h2->now_ns = now_ns;
    while (in.len > 0 && !h2->is_over && !is_refused) {
        in = slice_skip(in, feed_next(h2, in, now_ns, &verdict, &is_refused));
    }
    if (is_refused && nghttp2_session_want_read(h2->session) != 0) {
        h2_terminate(h2, verdict.code, verdict.why);
    }
    if (h2->is_over || nghttp2_session_want_read(h2->session) == 0) {
        return ERR_CLOSED;
    }
    return ERR_OK;
}

/* A HEADERS frame that nghttp2 has made. Its stream is gone when it was the last one. */
static void send_block(struct h2 *h2, const uint8_t *frame, size_t len)
{
    int32_t id = (int32_t)get_be32(frame + 5);
    struct h2_stream *stream = stream_of(h2, id);
    struct slice block = slice_of(frame + FRAME_HEAD_LEN, len - FRAME_HEAD_LEN);
    if (stream != NULL && stream->head_is_usual) {
        /* Nothing stands in it but, maybe, a new size of the table. */
        struct buf scratch = {0};
        struct slice usual = h2_usual_block(&h2->usual_head, &scratch);
        stream->head_is_usual = false;
        headers_append(h2->out, frame[4], id, block, usual);
        buf_fini(&scratch);
        return;
    }
    if (!h2_usual_is_pure(block)) {
        usual_forget(h2);
    } else if (id == h2->head_taught_by) {
        h2_usual_learn(&h2->usual_head, block);
    } else if (id == h2->trailers_taught_by) {
        h2_usual_learn(&h2->usual_trailers, block);
    }
    h2->head_taught_by = id == h2->head_taught_by ? 0 : h2->head_taught_by;
    outq_append(h2->out, frame, len);
}

bool h2_send(struct h2 *h2, struct outq *out, size_t limit)
{
    ASSERT(h2->out == NULL);
    h2->out = out;
    h2->out_limit = limit;
    bool is_limited = false;
    for (;;) {
        if (out->len >= limit) {
            is_limited = nghttp2_session_want_write(h2->session) != 0;
            break;
        }
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(h2->session, &data);
        if (len < 0) {
            h2->is_over = true;
            break;
        }
        if (len == 0) {
            is_limited = out->len >= limit && nghttp2_session_want_write(h2->session) != 0;
            break;
        }
        if (data[3] == NGHTTP2_HEADERS && !h2->options.is_client) {
            send_block(h2, data, (size_t)len);
        } else {
            outq_append(out, data, (size_t)len);
        }
    }
    h2->has_new_window = h2->has_new_window && is_limited;
    h2->out = NULL;
    return is_limited;
}

bool h2_is_done(const struct h2 *h2)
{
    return h2->is_over || (nghttp2_session_want_read(h2->session) == 0 &&
                           nghttp2_session_want_write(h2->session) == 0);
}

bool h2_is_owed(const struct h2 *h2)
{
    return h2_guard_is_owed(&h2->guard);
}

/* ---- commands -------------------------------------------------------------------------- */

static void name_values(const struct h2_field *fields, size_t count, nghttp2_nv *out)
{
    ASSERT(count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i++) {
        /* nghttp2 only reads, but its field type is shared with the receiving side. */
        union {
            const uint8_t *in;
            uint8_t *out;
        } name = {fields[i].name.data}, value = {fields[i].value.data};
        out[i] = (nghttp2_nv){
            .name = name.out,
            .value = value.out,
            .namelen = fields[i].name.len,
            .valuelen = fields[i].value.len,
            .flags = fields[i].is_static
                         ? NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
                         : NGHTTP2_NV_FLAG_NONE,
        };
    }
}

static const nghttp2_data_provider provider = {.read_callback = on_read};

void h2_respond(struct h2 *h2, int32_t id, const struct h2_field *fields, size_t count,
                bool has_body)
{
    nghttp2_nv values[FIELDS_MAX];
    name_values(fields, count, values);
    int rv = nghttp2_submit_response(h2->session, id, values, count, has_body ? &provider : NULL);
    ASSERT(rv == 0);
}

void h2_respond_usual(struct h2 *h2, int32_t id)
{
    struct h2_usual *usual = &h2->usual_head;
    struct h2_stream *stream = stream_of(h2, id);
    ASSERT(stream != NULL && usual->count > 0);
    if (!h2_usual_is_known(usual)) {
        h2->head_taught_by = id;
        h2_respond(h2, id, usual->fields, usual->count, true);
        return;
    }
    stream->head_is_usual = true;
    int rv = nghttp2_submit_response(h2->session, id, NULL, 0, &provider);
    ASSERT(rv == 0);
}

int32_t h2_request(struct h2 *h2, const struct h2_field *fields, size_t count, bool has_body,
                   void *stream)
{
    nghttp2_nv values[FIELDS_MAX];
    name_values(fields, count, values);
    struct h2_stream *own = stream_new(h2, stream);
    int32_t id =
        nghttp2_submit_request(h2->session, NULL, values, count, has_body ? &provider : NULL, own);
    ASSERT(id > 0 || id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE);
    if (id < 0) {
        stream_free(h2, own);
        return 0;
    }
    return id;
}

void h2_trailers(struct h2 *h2, int32_t id, const struct h2_field *fields, size_t count)
{
    nghttp2_nv values[FIELDS_MAX];
    name_values(fields, count, values);
    int rv = nghttp2_submit_trailer(h2->session, id, values, count);
    ASSERT(rv == 0);
}

void h2_resume(struct h2 *h2, int32_t id)
{
    /* "Invalid argument" says that it is not deferred: it will be asked anyway. */
    nghttp2_session_resume_data(h2->session, id);
}

void h2_reset(struct h2 *h2, int32_t id, enum h2_code code)
{
    int rv = nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, (uint32_t)code);
    ASSERT(rv == 0);
}

void h2_consume(struct h2 *h2, int32_t id, size_t len)
{
    nghttp2_session_consume_stream(h2->session, id, len);
}

void h2_urgency(struct h2 *h2, int32_t id, uint32_t urgency)
{
    nghttp2_extpri priority = {.urgency = urgency, .inc = 1};
    ASSERT(urgency <= NGHTTP2_EXTPRI_URGENCY_LOW);
    nghttp2_session_change_extpri_stream_priority(h2->session, id, &priority, 1);
}

void h2_ping(struct h2 *h2)
{
    int rv = nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
    ASSERT(rv == 0);
}

void h2_shutdown_notice(struct h2 *h2)
{
    int rv = nghttp2_submit_shutdown_notice(h2->session);
    ASSERT(rv == 0);
}

static void goaway(struct h2 *h2, enum h2_code code, struct slice debug)
{
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->session);
    int rv = nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, (uint32_t)code, debug.data,
                                   debug.len);
    ASSERT(rv == 0 || rv == NGHTTP2_ERR_INVALID_ARGUMENT);
}

void h2_shutdown(struct h2 *h2)
{
    goaway(h2, H2_NO_ERROR, SLICE_EMPTY);
}

void h2_terminate(struct h2 *h2, enum h2_code code, const char *debug)
{
    if (!h2->is_over) {
        h2->is_over = true;
        goaway(h2, code, slice_str(debug));
    }
}
