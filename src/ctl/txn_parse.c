#include "ctl/txn_parse.h"

#include "base/gotext.h"
#include "codec/pb.h"
#include "ctl/goscan.h"

static int refuse(struct buf *why, const char *what, struct slice line)
{
    buf_append_str(why, what);
    buf_append_slice(why, line);
    return CTL_INVALID_INPUT;
}

/* ---- compares -------------------------------------------------------------------------- */

struct compare_text {
    struct slice target;
    struct buf key;
    struct slice op;
    struct buf value;
};

/* Scans as far as it goes; false when it is not all there. */
static bool scan_compare(struct slice rest, struct compare_text *text)
{
    struct buf quoted = {0};
    bool is_whole = false;
    if (goscan_quoted(&rest, &quoted) != ERR_OK) {
        goto out;
    }
    buf_append_slice(&text->key, buf_slice(&quoted));
    if (goscan_char(&rest, ')') != ERR_OK || goscan_blank(&rest) != ERR_OK ||
        goscan_word(&rest, &text->op) != ERR_OK || goscan_blank(&rest) != ERR_OK) {
        goto out;
    }
    buf_reset(&quoted);
    if (goscan_quoted(&rest, &quoted) == ERR_OK) {
        buf_append_slice(&text->value, buf_slice(&quoted));
        is_whole = true;
    }
out:
    buf_fini(&quoted);
    return is_whole;
}

static bool op_of(struct slice op, Etcdserverpb__Compare__CompareResult *out)
{
    if (slice_eq_str(op, "=")) {
        *out = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    } else if (slice_eq_str(op, "!=")) {
        *out = ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL;
    } else if (slice_eq_str(op, ">")) {
        *out = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
    } else if (slice_eq_str(op, "<")) {
        *out = ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS;
    } else {
        return false;
    }
    return true;
}

static bool set_target(struct arena *arena, const struct compare_text *text,
                       Etcdserverpb__Compare *compare)
{
    struct slice target = text->target;
    if (slice_eq_str(target, "ver") || slice_eq_str(target, "version")) {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    } else if (slice_eq_str(target, "c") || slice_eq_str(target, "create")) {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    } else if (slice_eq_str(target, "m") || slice_eq_str(target, "mod")) {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    } else if (slice_eq_str(target, "val") || slice_eq_str(target, "value")) {
        compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        compare->value = pb_binary(
            slice_of(arena_dup(arena, text->value.data, text->value.len), text->value.len));
    } else {
        return false;
    }
    return true;
}

static int compare_of(struct arena *arena, struct slice line, const struct compare_text *text,
                      Etcdserverpb__Compare *compare, struct buf *why)
{
    bool is_lease = slice_eq_str(text->target, "lease");
    if (!is_lease && !set_target(arena, text, compare)) {
        refuse(why, "malformed comparison: ", line);
        buf_append_str(why, " (unknown target ");
        buf_append_slice(why, text->target);
        buf_append_byte(why, ')');
        return CTL_INVALID_INPUT;
    }
    /* The numbers of the union lie on one another. */
    if (!is_lease && compare->target_union_case != ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE &&
        go_parse_int(buf_slice(&text->value), 10, 64, &compare->version, NULL) != ERR_OK) {
        return refuse(why, "invalid txn compare request: ", line);
    }
    if (!op_of(text->op, &compare->result)) {
        refuse(why, "malformed comparison: ", line);
        buf_append_str(why, " (unknown operator ");
        buf_append_slice(why, text->op);
        buf_append_byte(why, ')');
        return CTL_BAD_CONNECTION;
    }
    if (is_lease) {
        refuse(why, "bad value: ", line);
        buf_append_str(why, " (a lease cannot be compared here)");
        return CTL_BAD_CONNECTION;
    }
    compare->key =
        pb_binary(slice_of(arena_dup(arena, text->key.data, text->key.len), text->key.len));
    return CTL_OK;
}

int txn_parse_compare(struct arena *arena, struct slice line, Etcdserverpb__Compare **out,
                      struct buf *why)
{
    struct compare_text text = {0};
    struct slice rest = slice_split(line, '(', &text.target);
    if (rest.data == NULL) {
        return refuse(why, "malformed comparison: ", line);
    }
    Etcdserverpb__Compare *compare = pb_new(arena, &etcdserverpb__compare__descriptor);
    int code = CTL_INVALID_INPUT;
    if (scan_compare(rest, &text)) {
        code = compare_of(arena, line, &text, compare, why);
        *out = compare;
    } else {
        refuse(why, "malformed comparison: ", line);
        buf_append_str(why, "; got ");
        buf_append_slice(why, text.target);
        buf_append_byte(why, '(');
        go_quote(buf_slice(&text.key), why);
        buf_append_str(why, ") ");
        buf_append_slice(why, text.op);
        buf_append_byte(why, ' ');
        go_quote(buf_slice(&text.value), why);
    }
    buf_fini(&text.key);
    buf_fini(&text.value);
    return code;
}

/* ---- words ----------------------------------------------------------------------------- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

/* The length of the quoted word that starts here, quotes included; 0 when it does not end. */
static size_t quoted_len(struct slice text)
{
    uint8_t quote = text.data[0];
    for (size_t i = 1; i < text.len; i++) {
        if (text.data[i] == quote) {
            return i + 1;
        }
        if (quote == '"' && text.data[i] == '\\') {
            i++;
        }
    }
    return 0;
}

static int word_of(struct arena *arena, struct slice raw, const char **out, struct buf *why)
{
    struct buf text = {0};
    int code = CTL_OK;
    if (raw.data[0] == '\'') {
        buf_append(&text, raw.data + 1, raw.len - 2);
    } else if (raw.data[0] == '"') {
        struct slice rest = raw;
        if (goscan_quoted(&rest, &text) != ERR_OK) {
            buf_append_str(why, "invalid syntax");
            code = CTL_INVALID_INPUT;
        }
    } else {
        buf_append_slice(&text, raw);
    }
    if (code == CTL_OK && memchr(buf_cstr(&text), 0, text.len) != NULL) {
        buf_append_str(why, "a zero byte cannot be typed here");
        code = CTL_INVALID_INPUT;
    }
    *out = arena_strndup(arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return code;
}

int txn_parse_words(struct arena *arena, struct slice line, const char ***words_out,
                    size_t *count_out, struct buf *why)
{
    /* No word is without a character of its own, and a quote that does not end is skipped. */
    const char **words = arena_alloc(arena, (line.len + 1) * sizeof(*words));
    size_t count = 0;
    while (line.len > 0) {
        uint8_t c = line.data[0];
        size_t len = 0;
        if (c == '"' || c == '\'') {
            len = quoted_len(line);
        } else if (!is_blank(c)) {
            while (len < line.len && !is_blank(line.data[len])) {
                len++;
            }
        }
        if (len > 0) {
            int code = word_of(arena, slice_of(line.data, len), &words[count++], why);
            if (code != CTL_OK) {
                return code;
            }
        }
        line = slice_skip(line, len > 0 ? len : 1);
    }
    words[count] = NULL;
    *words_out = words;
    *count_out = count;
    return CTL_OK;
}

/* ---- operations ------------------------------------------------------------------------ */

/* What may stand in a transaction, as a tree of its own: no global flags, no other commands. */
static const struct command op_commands[] = {
    {.name = "del", .use = "del", .flags = kv_del_flags, .flag_count = KV_DEL_FLAGS},
    {.name = "get", .use = "get", .flags = kv_get_flags, .flag_count = KV_GET_FLAGS},
    {.name = "put", .use = "put", .flags = kv_put_flags, .flag_count = KV_PUT_FLAGS},
};
static const struct command op_root = {
    .name = "", .children = op_commands, .child_count = ARRAY_LEN(op_commands)};

static int build_op(struct arena *arena, const struct command *command,
                    const struct pflag_set *flags, const struct kv_input *input,
                    Etcdserverpb__RequestOp *op, struct buf *warning, struct buf *why)
{
    if (command->name[0] == 'd') {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        return kv_op_del(arena, flags, &op->request_delete_range, warning, why);
    }
    if (command->name[0] == 'g') {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        return kv_op_get(arena, flags, &op->request_range, why);
    }
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    return kv_op_put(arena, flags, input, &op->request_put, why);
}

int txn_parse_op(struct arena *arena, struct slice line, const struct kv_input *input,
                 Etcdserverpb__RequestOp **out, struct buf *warning, struct buf *why)
{
    const char **words = NULL;
    size_t count = 0;
    int code = txn_parse_words(arena, line, &words, &count, why);
    if (code != CTL_OK) {
        return code;
    }
    if (count < 2) {
        return refuse(why, "invalid txn compare request: ", line);
    }
    const char **rest = arena_alloc(arena, count * sizeof(*rest));
    size_t rest_count = 0;
    struct command_path path;
    struct buf ignored = {0};
    enum err err = command_find(&op_root, words, count, &path, rest, &rest_count, &ignored);
    if (err != ERR_OK || path.depth == 1) {
        buf_fini(&ignored);
        return refuse(why, "invalid txn request: ", line);
    }
    struct pflag_set *flags = command_flags(&path, true);
    Etcdserverpb__RequestOp *op = pb_new(arena, &etcdserverpb__request_op__descriptor);
    if (pflag_parse(flags, rest, rest_count, &ignored) != ERR_OK || pflag_bool(flags, "help")) {
        code = refuse(why, "invalid txn request: ", line);
    } else {
        code = build_op(arena, command_of(&path), flags, input, op, warning, why);
    }
    /* Arguments are words, which the arena keeps; flags' texts are gone with the set, and no
     * request holds one. */
    pflag_set_free(&flags);
    buf_fini(&ignored);
    *out = op;
    return code;
}
