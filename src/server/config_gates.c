/* Feature gates: names, defaults, the two groups, and their older flags.
 *
 * A group ("AllAlpha") sets the gates of its stage that were not set by name. */
#include "server/config_priv.h"

#include "base/gotext.h"

enum stage {
    STAGE_ALPHA,
    STAGE_BETA,
};

/* By name, as they are shown; groups first, as their names sort. */
enum {
    NAME_ALL_ALPHA,
    NAME_ALL_BETA,
    NAME_FIRST_GATE,
};

static const struct {
    const char *name;
    enum stage stage;
    bool initial;
    const char *older; /* the flag it had, or NULL */
} names[CONFIG_GATE_NAMES_MAX] = {
    [NAME_ALL_ALPHA] = {"AllAlpha", STAGE_ALPHA, false, NULL},
    [NAME_ALL_BETA] = {"AllBeta", STAGE_BETA, false, NULL},
    [NAME_FIRST_GATE + CONFIG_GATE_COMPACT_HASH_CHECK] = {"CompactHashCheck", STAGE_ALPHA, false,
                                                          "experimental-compact-hash-check-"
                                                          "enabled"},
    [NAME_FIRST_GATE + CONFIG_GATE_INITIAL_CORRUPT_CHECK] = {"InitialCorruptCheck", STAGE_ALPHA,
                                                             false,
                                                             "experimental-initial-corrupt-check"},
    [NAME_FIRST_GATE + CONFIG_GATE_LEASE_CHECKPOINT] = {"LeaseCheckpoint", STAGE_ALPHA, false,
                                                        "experimental-enable-lease-checkpoint"},
    [NAME_FIRST_GATE +
        CONFIG_GATE_LEASE_CHECKPOINT_PERSIST] = {"LeaseCheckpointPersist", STAGE_ALPHA, false,
                                                 "experimental-enable-lease-checkpoint-persist"},
    [NAME_FIRST_GATE +
        CONFIG_GATE_SET_MEMBER_LOCAL_ADDR] = {"SetMemberLocalAddr", STAGE_ALPHA, false, NULL},
    [NAME_FIRST_GATE +
        CONFIG_GATE_STOP_GRPC_SERVICE_ON_DEFRAG] = {"StopGRPCServiceOnDefrag", STAGE_ALPHA, false,
                                                    "experimental-stop-grpc-service-on-defrag"},
    [NAME_FIRST_GATE + CONFIG_GATE_TXN_MODE_WRITE_WITH_SHARED_BUFFER] =
        {"TxnModeWriteWithSharedBuffer", STAGE_BETA, true,
         "experimental-txn-mode-write-with-shared-buffer"},
};

const char *config_gate_name(enum config_gate gate)
{
    ASSERT((unsigned)gate < CONFIG_GATE_COUNT);
    return names[NAME_FIRST_GATE + gate].name;
}

void config__gates_help(struct buf *out, const char *indent)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        buf_printf(out, "%s%s=true|false (%s - default=%s)\n", indent, names[i].name,
                   names[i].stage == STAGE_ALPHA ? "ALPHA" : "BETA",
                   names[i].initial ? "true" : "false");
    }
}

/* ---- setting ------------------------------------------------------------------------------------
 */

static struct slice trim(struct slice text)
{
    while (text.len > 0 && strchr(" \t\n\v\f\r", text.data[0]) != NULL && text.data[0] != 0) {
        text = slice_skip(text, 1);
    }
    while (text.len > 0 && text.data[text.len - 1] != 0 &&
           strchr(" \t\n\v\f\r", text.data[text.len - 1]) != NULL) {
        text.len--;
    }
    return text;
}

/* One "Name=bool" of the list. */
static enum err set_pair(enum config_gate_state *state, struct slice pair, struct errbuf *why)
{
    struct slice name;
    struct slice value = trim(slice_split(pair, '=', &name));
    bool has_value = name.len != pair.len;
    struct errbuf inner;
    bool on;
    name = trim(name);
    const char *shown = name.len == 0 ? "" : (const char *)name.data;
    if (!has_value) {
        return errf(why, ERR_INVALID, "missing bool value for %.*s", (int)name.len, shown);
    }
    if (go_parse_bool(value, &on, &inner) != ERR_OK) {
        struct buf quoted = {0};
        go_quote(value, &quoted);
        enum err err = errf(
            why, ERR_INVALID, "invalid value of %.*s=%.*s, err: strconv.ParseBool: parsing %s: %s",
            (int)name.len, shown, (int)value.len, value.len == 0 ? "" : (const char *)value.data,
            buf_cstr(&quoted), inner.text);
        buf_fini(&quoted);
        return err;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_eq_str(name, names[i].name)) {
            state[i] = on ? CONFIG_GATE_ON : CONFIG_GATE_OFF;
            return ERR_OK;
        }
    }
    return errf(why, ERR_INVALID, "unrecognized feature gate: %.*s", (int)name.len, shown);
}

/* A group that is set fills in the gates of its stage that are not. */
static void spread_groups(enum config_gate_state *state)
{
    for (size_t group = 0; group < NAME_FIRST_GATE; group++) {
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            bool is_member = names[i].stage == names[group].stage && i != group;
            if (is_member && state[i] == CONFIG_GATE_UNSET) {
                state[i] = state[group];
            }
        }
    }
}

FALLIBLE config__gates_set(struct config *config, struct slice text, struct errbuf *why)
{
    enum config_gate_state state[CONFIG_GATE_NAMES_MAX];
    struct config_priv *priv = config->priv;
    memcpy(state, priv->gates, sizeof(state));
    while (text.len > 0) {
        struct slice pair;
        text = slice_split(text, ',', &pair);
        if (pair.len > 0) {
            TRY(set_pair(state, pair, why));
        }
    }
    spread_groups(state);
    memcpy(priv->gates, state, sizeof(state));
    return ERR_OK;
}

/* ---- finishing
 * ------------------------------------------------------------------------------------ */

static bool enabled(const struct config_priv *priv, size_t i)
{
    return priv->gates[i] == CONFIG_GATE_UNSET ? names[i].initial
                                               : priv->gates[i] == CONFIG_GATE_ON;
}

/* What was set, as the gate's own String() shows it. */
static const char *gates_text(struct config *config)
{
    struct buf text = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        enum config_gate_state state = config->priv->gates[i];
        if (state != CONFIG_GATE_UNSET) {
            buf_printf(&text, "%s%s=%s", text.len == 0 ? "" : ",", names[i].name,
                       state == CONFIG_GATE_ON ? "true" : "false");
        }
    }
    const char *copy = arena_strndup(&config->priv->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

FALLIBLE config__gates_finish(struct config *config, struct errbuf *why)
{
    struct config_priv *priv = config->priv;
    enum config_gate_state carried[CONFIG_GATE_NAMES_MAX];
    memcpy(carried, priv->gates, sizeof(carried));
    /* The file shows the text as it stands there; flags show what it came to. */
    const char *given = priv->gates_given != NULL ? priv->gates_given : gates_text(config);
    for (size_t i = NAME_FIRST_GATE; i < ARRAY_LEN(names); i++) {
        if (names[i].older == NULL || !config__given(config, names[i].older)) {
            continue;
        }
        bool on = priv->old.gates[i - NAME_FIRST_GATE];
        if (strstr(given, names[i].name) != NULL) {
            const char *now = enabled(priv, i) ? "true" : "false";
            return errf(why, ERR_INVALID,
                        "cannot specify both flags: --%s=%s and --feature-gates=%s=%s at the same "
                        "time, please just use --feature-gates=%s=%s",
                        names[i].older, on ? "true" : "false", names[i].name, now, names[i].name,
                        now);
        }
        carried[i] = on ? CONFIG_GATE_ON : CONFIG_GATE_OFF;
    }
    memcpy(priv->gates, carried, sizeof(carried));
    for (size_t gate = 0; gate < CONFIG_GATE_COUNT; gate++) {
        config->gates[gate] = enabled(priv, NAME_FIRST_GATE + gate);
    }
    config->gates_text = gates_text(config);
    return ERR_OK;
}
