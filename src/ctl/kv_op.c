#include "ctl/kv_op.h"

#include "base/gotext.h"
#include "codec/pb.h"

static const char *const consistencies[] = {"l", "s", NULL};
static const char *const orders[] = {"ASCEND", "DESCEND", NULL};
static const char *const targets[] = {"CREATE", "KEY", "MODIFY", "VALUE", "VERSION", NULL};

const struct pflag_spec kv_put_flags[KV_PUT_FLAGS] = {
    {"ignore-lease", 0, PFLAG_BOOL, "false", "keep the lease that the key has", NULL},
    {"ignore-value", 0, PFLAG_BOOL, "false", "keep the value that the key has", NULL},
    {"lease", 0, PFLAG_STRING, "0", "attach the key to this lease (ID in hexadecimal)", NULL},
    {"prev-kv", 0, PFLAG_BOOL, "false", "also print the pair that was there before", NULL},
};

const struct pflag_spec kv_get_flags[KV_GET_FLAGS] = {
    {"consistency", 0, PFLAG_STRING, "l",
     "l: linearizable, s: serializable (from this member alone)", consistencies},
    {"count-only", 0, PFLAG_BOOL, "false", "count the keys, print none (with -w fields)", NULL},
    {"from-key", 0, PFLAG_BOOL, "false", "all keys from the given one on, in byte order", NULL},
    {"keys-only", 0, PFLAG_BOOL, "false", "leave out the values", NULL},
    {"limit", 0, PFLAG_INT64, "0", "at most so many keys (0: all)", NULL},
    {"max-create-rev", 0, PFLAG_INT64, "0", "only keys created at this revision or before", NULL},
    {"max-mod-rev", 0, PFLAG_INT64, "0", "only keys changed last at this revision or before", NULL},
    {"min-create-rev", 0, PFLAG_INT64, "0", "only keys created at this revision or later", NULL},
    {"min-mod-rev", 0, PFLAG_INT64, "0", "only keys changed last at this revision or later", NULL},
    {"order", 0, PFLAG_STRING, "", "ASCEND (as is usual) or DESCEND", orders},
    {"prefix", 0, PFLAG_BOOL, "false", "all keys that begin with the given one", NULL},
    {"print-value-only", 0, PFLAG_BOOL, "false", "print values without their keys (with -w simple)",
     NULL},
    {"rev", 0, PFLAG_INT64, "0", "read the store as of this revision (0: now)", NULL},
    {"sort-by", 0, PFLAG_STRING, "", "sort by CREATE, KEY, MODIFY, VALUE or VERSION", targets},
};

const struct pflag_spec kv_del_flags[KV_DEL_FLAGS] = {
    {"from-key", 0, PFLAG_BOOL, "false", "all keys from the given one on, in byte order", NULL},
    {"prefix", 0, PFLAG_BOOL, "false", "all keys that begin with the given one", NULL},
    {"prev-kv", 0, PFLAG_BOOL, "false", "also print the pairs that are deleted", NULL},
    {"range", 0, PFLAG_BOOL, "false", "the second argument ends a range: do not ask for patience",
     NULL},
};

static int refuse(struct buf *why, int code, const char *sentence)
{
    buf_append_str(why, sentence);
    return code;
}

/* ---- ranges ---------------------------------------------------------------------------- */

/* One zero byte: "from here on" as an end, the smallest key as a key. */
#define ZERO_BYTE SLICE("\0")

struct slice kv_prefix_end(struct arena *arena, struct slice prefix)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xff) {
        len--;
    }
    if (len == 0) {
        return ZERO_BYTE;
    }
    uint8_t *end = arena_dup(arena, prefix.data, len);
    end[len - 1]++;
    return slice_of(end, len);
}

/* [key, end) as the arguments, --prefix and --from-key say. */
static int range_of(struct arena *arena, const struct pflag_set *flags,
                    ProtobufCBinaryData *key_out, ProtobufCBinaryData *end_out, struct buf *why)
{
    bool is_prefix = pflag_bool(flags, "prefix");
    bool is_from_key = pflag_bool(flags, "from-key");
    struct slice key = slice_str(pflag_arg(flags, 0));
    struct slice end = SLICE_EMPTY;
    if (pflag_narg(flags) > 1) {
        if (is_prefix || is_from_key) {
            return refuse(why, CTL_BAD_ARGS,
                          "too many arguments, only accept one argument when `--prefix` or "
                          "`--from-key` is set");
        }
        end = slice_str(pflag_arg(flags, 1));
    }
    if (is_prefix && key.len > 0) {
        end = kv_prefix_end(arena, key);
    } else if (is_prefix || is_from_key) {
        key = key.len == 0 ? ZERO_BYTE : key;
        end = ZERO_BYTE;
    }
    *key_out = pb_binary(key);
    *end_out = pb_binary(end);
    return CTL_OK;
}

/* ---- put ------------------------------------------------------------------------------- */

static const char put_usage[] = "put command needs 1 argument and input from stdin or 2 arguments";

static int put_value(struct arena *arena, const struct pflag_set *flags,
                     const struct kv_input *input, struct slice *out, struct buf *why)
{
    if (pflag_narg(flags) > 1) {
        *out = slice_str(pflag_arg(flags, 1));
        return CTL_OK;
    }
    struct buf value = {0};
    input->read_all(input->ctx, &value);
    bool is_empty = value.len == 0;
    *out = slice_of(arena_dup(arena, value.data, value.len), value.len);
    buf_fini(&value);
    return is_empty ? refuse(why, CTL_BAD_ARGS, put_usage) : CTL_OK;
}

const char *kv_op_parse_hex(const char *text, int64_t *out)
{
    bool is_negative = text[0] == '-';
    text += text[0] == '-' || text[0] == '+';
    uint64_t limit = is_negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t value = 0;
    bool is_over = false;
    if (text[0] == 0) {
        return "invalid syntax";
    }
    for (; *text != 0; text++) {
        int digit = hex_value((uint8_t)*text);
        if (digit < 0) {
            return "invalid syntax";
        }
        is_over = is_over || value > (limit - (uint64_t)digit) / 16;
        value = value * 16 + (uint64_t)digit;
    }
    if (is_over) {
        return "value out of range";
    }
    *out = (int64_t)(is_negative ? 0 - value : value);
    return NULL;
}

static int put_lease(const char *text, int64_t *out, struct buf *why)
{
    const char *error = kv_op_parse_hex(text, out);
    if (error == NULL) {
        return CTL_OK;
    }
    buf_append_str(why, "bad lease ID (strconv.ParseInt: parsing ");
    go_quote(slice_str(text), why);
    buf_printf(why, ": %s), expecting ID in Hex", error);
    return CTL_BAD_ARGS;
}

int kv_op_put(struct arena *arena, const struct pflag_set *flags, const struct kv_input *input,
              Etcdserverpb__PutRequest **out, struct buf *why)
{
    bool ignores_value = pflag_bool(flags, "ignore-value");
    if (pflag_narg(flags) == 0) {
        return refuse(why, CTL_BAD_ARGS, put_usage);
    }
    if (ignores_value && pflag_narg(flags) > 1) {
        return refuse(why, CTL_BAD_ARGS,
                      "put command needs only 1 argument when 'ignore-value' is set");
    }
    struct slice value = SLICE_EMPTY;
    int code = ignores_value ? CTL_OK : put_value(arena, flags, input, &value, why);
    if (code != CTL_OK) {
        return code;
    }
    Etcdserverpb__PutRequest *put = pb_new(arena, &etcdserverpb__put_request__descriptor);
    code = put_lease(pflag_str(flags, "lease"), &put->lease, why);
    put->key = pb_binary(slice_str(pflag_arg(flags, 0)));
    put->value = pb_binary(value);
    put->prev_kv = pflag_bool(flags, "prev-kv");
    put->ignore_value = ignores_value;
    put->ignore_lease = pflag_bool(flags, "ignore-lease");
    *out = put;
    return code;
}

/* ---- get ------------------------------------------------------------------------------- */

int kv_op_consistency(const char *text, bool *is_serializable, struct buf *why)
{
    if (strcmp(text, "l") != 0 && strcmp(text, "s") != 0) {
        buf_append_str(why, "unknown consistency flag ");
        go_quote(slice_str(text), why);
        return CTL_BAD_FEATURE;
    }
    *is_serializable = text[0] == 's';
    return CTL_OK;
}

static bool same_any_case(const char *a, const char *upper)
{
    for (; *a != 0 && *upper != 0; a++, upper++) {
        char c = *a >= 'a' && *a <= 'z' ? (char)(*a - 'a' + 'A') : *a;
        if (c != *upper) {
            return false;
        }
    }
    return *a == *upper;
}

static int get_sorting(const struct pflag_set *flags, Etcdserverpb__RangeRequest *range,
                       struct buf *why)
{
    static const struct {
        const char *name;
        Etcdserverpb__RangeRequest__SortTarget target;
    } by[] = {
        {"", ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY},
        {"CREATE", ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE},
        {"KEY", ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY},
        {"MODIFY", ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD},
        {"VALUE", ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE},
        {"VERSION", ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION},
    };
    const char *order = pflag_str(flags, "order");
    if (same_any_case(order, "ASCEND")) {
        range->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    } else if (same_any_case(order, "DESCEND")) {
        range->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    } else if (order[0] != 0) {
        buf_printf(why, "bad sort order %s", order);
        return CTL_BAD_FEATURE;
    }
    const char *target = pflag_str(flags, "sort-by");
    size_t i = 0;
    while (i < ARRAY_LEN(by) && !same_any_case(target, by[i].name)) {
        i++;
    }
    if (i == ARRAY_LEN(by)) {
        buf_printf(why, "bad sort target %s", target);
        return CTL_BAD_FEATURE;
    }
    range->sort_target = by[i].target;
    /* That is the order of keys anyway; said aloud it would make a server read everything. */
    if (range->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY &&
        range->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND) {
        range->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;
    }
    return CTL_OK;
}

/* One pair of --min-…-rev and --max-…-rev; `name` is what etcdctl calls it in its error. */
static int get_window(int64_t min, int64_t max, const char *name, int64_t *min_out,
                      int64_t *max_out, struct buf *why)
{
    if (max > 0 && min > max) {
        buf_printf(why, "getMin%sRev(=%lld) > getMax%sRev(=%lld)", name, (long long)min, name,
                   (long long)max);
        return CTL_BAD_FEATURE;
    }
    *min_out = min > 0 ? min : 0;
    *max_out = max > 0 ? max : 0;
    return CTL_OK;
}

static int get_check(const struct pflag_set *flags, struct buf *why)
{
    if (pflag_narg(flags) == 0) {
        return refuse(why, CTL_BAD_ARGS,
                      "get command needs one argument as key and an optional argument as "
                      "range_end");
    }
    if (pflag_bool(flags, "prefix") && pflag_bool(flags, "from-key")) {
        return refuse(why, CTL_BAD_ARGS,
                      "`--prefix` and `--from-key` cannot be set at the same time, choose one");
    }
    if (pflag_bool(flags, "keys-only") && pflag_bool(flags, "count-only")) {
        return refuse(why, CTL_BAD_ARGS,
                      "`--keys-only` and `--count-only` cannot be set at the same time, choose "
                      "one");
    }
    return CTL_OK;
}

int kv_op_get(struct arena *arena, const struct pflag_set *flags, Etcdserverpb__RangeRequest **out,
              struct buf *why)
{
    Etcdserverpb__RangeRequest *range = pb_new(arena, &etcdserverpb__range_request__descriptor);
    bool is_serializable = false;
    int code = get_check(flags, why);
    if (code == CTL_OK) {
        code = kv_op_consistency(pflag_str(flags, "consistency"), &is_serializable, why);
    }
    if (code == CTL_OK) {
        code = range_of(arena, flags, &range->key, &range->range_end, why);
    }
    if (code == CTL_OK) {
        code = get_sorting(flags, range, why);
    }
    if (code == CTL_OK) {
        code = get_window(pflag_i64(flags, "min-create-rev"), pflag_i64(flags, "max-create-rev"),
                          "Create", &range->min_create_revision, &range->max_create_revision, why);
    }
    if (code == CTL_OK) {
        code = get_window(pflag_i64(flags, "min-mod-rev"), pflag_i64(flags, "max-mod-rev"), "Mod",
                          &range->min_mod_revision, &range->max_mod_revision, why);
    }
    range->serializable = is_serializable;
    range->limit = pflag_i64(flags, "limit");
    range->revision = pflag_i64(flags, "rev") > 0 ? pflag_i64(flags, "rev") : 0;
    range->keys_only = pflag_bool(flags, "keys-only");
    range->count_only = pflag_bool(flags, "count-only");
    *out = range;
    return code;
}

/* ---- del ------------------------------------------------------------------------------- */

int kv_op_del(struct arena *arena, const struct pflag_set *flags,
              Etcdserverpb__DeleteRangeRequest **out, struct buf *warning, struct buf *why)
{
    if (pflag_narg(flags) == 0 || pflag_narg(flags) > 2) {
        return refuse(why, CTL_BAD_ARGS,
                      "del command needs one argument as key and an optional argument as "
                      "range_end");
    }
    if (pflag_bool(flags, "prefix") && pflag_bool(flags, "from-key")) {
        return refuse(why, CTL_BAD_ARGS,
                      "`--prefix` and `--from-key` cannot be set at the same time, choose one");
    }
    Etcdserverpb__DeleteRangeRequest *del =
        pb_new(arena, &etcdserverpb__delete_range_request__descriptor);
    int code = range_of(arena, flags, &del->key, &del->range_end, why);
    if (code == CTL_OK && pflag_narg(flags) == 2 && !pflag_bool(flags, "range")) {
        buf_append_str(warning, "Warning: Keys between ");
        go_quote(slice_str(pflag_arg(flags, 0)), warning);
        buf_append_str(warning, " and ");
        go_quote(slice_str(pflag_arg(flags, 1)), warning);
        buf_append_str(warning, " will be deleted. Please interrupt the command within next 2 "
                                "seconds to cancel. You can provide `--range` flag to avoid the "
                                "delay.\n");
    }
    del->prev_kv = pflag_bool(flags, "prev-kv");
    *out = del;
    return code;
}
