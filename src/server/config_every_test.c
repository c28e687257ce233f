/* The table of flags against itself: each flag, each way in, and each refusal of what is not built.
 */
#include "server/config_run.h"

/* ---- every flag, every way
 * --------------------------------------------------------------------------- */

/* A value of the row's kind that is not its default. */
static const char *sample(const struct config_row *row)
{
    switch (row->kind) {
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_GATE:
        return row->initial != NULL && strcmp(row->initial, "true") == 0 ? "false" : "true";
    case CONFIG_KIND_INT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_UINT32:
        return strcmp(row->name, "election-timeout") == 0 ? "2000" : "77";
    case CONFIG_KIND_DURATION:
        return "7s";
    case CONFIG_KIND_STRING:
        return strcmp(row->name, "auto-compaction-mode") == 0        ? "revision"
               : strcmp(row->name, "auto-compaction-retention") == 0 ? "5"
               : strcmp(row->name, "log-format") == 0                ? "console"
               : strcmp(row->name, "log-level") == 0                 ? "debug"
               : strcmp(row->name, "tls-min-version") == 0           ? "TLS1.3"
               : strcmp(row->name, "tls-max-version") == 0           ? "TLS1.3"
               : strcmp(row->name, "initial-cluster") == 0           ? "a=http://a:1"
                                                                     : "sample";
    case CONFIG_KIND_URLS:
    case CONFIG_KIND_CORS:
        return "http://127.0.0.1:4321";
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
        return strcmp(row->name, "log-outputs") == 0 ? "stdout" : "one,two";
    case CONFIG_KIND_STATE:
        return "existing";
    case CONFIG_KIND_FALLBACK:
        return "proxy";
    case CONFIG_KIND_V2:
        return "write-only-skip-check";
    case CONFIG_KIND_GATES:
        return "TxnModeWriteWithSharedBuffer=false";
    case CONFIG_KIND_IGNORED:
        return "true";
    }
    UNREACHABLE();
}

/* The value arrived where its name of today keeps it, or was refused by a sentence that names the
 * flag or what is wrong with it: never taken and forgotten. */
static void expect_arrived(struct run *run, const struct config_row *row)
{
    const char *value = sample(row);
    if (run->verdict == CONFIG_EXIT) {
        assert_int_equal(run->status, 1);
        bool is_gate = row->kind == CONFIG_KIND_GATE;
        const char *name = is_gate ? "gate" : row->successor != NULL ? row->successor : row->name;
        const char *reason = strstr(buf_cstr(&run->err), "failed to verify flags");
        assert_non_null(reason);
        if (strstr(reason, name) == NULL) { /* these are refused for what must go with them */
            bool is_known = strcmp(row->name, "logger") == 0 ||
                            strcmp(row->name, "enable-log-rotation") == 0 ||
                            strncmp(row->name, "discovery-", 10) == 0;
            assert_true(is_known);
        }
        return;
    }
    const struct config_row *today = row;
    if (row->successor != NULL && row->kind != CONFIG_KIND_GATE) {
        today = config__row(row->successor);
    }
    if (row->kind != CONFIG_KIND_IGNORED) {
        assert_string_equal(config__show(run->config, today), value);
    }
}

TEST(config_every, every_flag_arrives_from_the_command_line_or_is_refused)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        struct run run;
        char word[256];
        print_message("# --%s\n", row->name);
        run_init(&run);
        snprintf(word, sizeof(word), "--%s=%s", row->name, sample(row));
        run_arg(&run, word);
        if (strcmp(row->name, "listen-client-urls") == 0) {
            run_arg(&run, "--advertise-client-urls=http://a:1");
        }
        run_go(&run);
        expect_arrived(&run, row);
        run_fini(&run);
    }
}

TEST(config_every, every_flag_arrives_from_the_environment_or_is_refused)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        struct run run;
        char word[256];
        char name[96];
        size_t len = 0;
        for (; row->name[len] != 0; len++) {
            char c = row->name[len];
            name[len] = (char)(c == '-' ? '_' : c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        name[len] = 0;
        print_message("# ETCD_%s\n", name);
        run_init(&run);
        snprintf(word, sizeof(word), "ETCD_%s=%s", name, sample(row));
        run_env(&run, word);
        if (strcmp(row->name, "listen-client-urls") == 0) {
            run_env(&run, "ETCD_ADVERTISE_CLIENT_URLS=http://a:1");
        }
        run_go(&run);
        expect_arrived(&run, row);
        run_fini(&run);
    }
}

/* "a.b.c" and a value as the lines of nested maps. */
static void nest(struct buf *out, const char *path, const char *value)
{
    int depth = 0;
    struct slice rest = slice_str(path);
    while (rest.len > 0) {
        struct slice part;
        rest = slice_split(rest, '.', &part);
        buf_printf(out, "%*s%.*s:", depth, "", (int)part.len, (const char *)part.data);
        buf_append_str(out, rest.len > 0 ? "\n" : " ");
        depth += 2;
    }
    buf_append_str(out, value);
    buf_append_byte(out, '\n');
}

TEST(config_every, every_flag_arrives_from_the_file_or_is_refused)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        const char *key = row->key == NULL ? row->name : row->key;
        struct run run;
        struct buf text = {0};
        char list[64];
        const char *value = sample(row);
        if (key[0] == 0) {
            continue;
        }
        bool is_list = row->kind == CONFIG_KIND_WORDS ||
                       (row->kind == CONFIG_KIND_SET && strcmp(row->name, "host-whitelist") != 0);
        if (is_list) {
            snprintf(list, sizeof(list), "[%s]", value);
            value = list;
        } else if (row->kind == CONFIG_KIND_DURATION) {
            value = "7000000000";
        }
        nest(&text, key, value);
        print_message("# %s", buf_cstr(&text));
        run_file(&run, buf_cstr(&text));
        expect_arrived(&run, row);
        run_fini(&run);
        buf_fini(&text);
    }
}

/* ---- what is not built
 * --------------------------------------------------------------------------- */

TEST(config_every, what_is_not_built_is_refused_and_names_its_flag)
{
    static const char *const lines[] = {
        "--cert-file c",
        "--key-file k",
        "--client-cert-auth",
        "--client-crl-file c",
        "--trusted-ca-file c",
        "--auto-tls",
        "--peer-auto-tls",
        "--peer-cert-allowed-cn a",
        "--listen-client-urls https://127.0.0.1:1 --advertise-client-urls http://a:1",
        "--listen-peer-urls https://127.0.0.1:1",
        "--listen-metrics-urls unixs:///x",
        "--discovery http://d",
        "--discovery-srv d",
        "--initial-cluster default=http://localhost:2380,b=http://b:1",
        "--force-new-cluster",
        "--auth-token jwt,pub-key=x",
        "--auto-compaction-retention 1",
        "--corrupt-check-time 1s",
        "--memory-mlock",
        "--enable-pprof",
        "--enable-distributed-tracing",
        "--feature-gates SetMemberLocalAddr=true",
        "--log-outputs systemd/journal",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct run run;
        char flag[64];
        print_message("# %s\n", lines[i]);
        run_line(&run, lines[i]);
        assert_int_equal(run.verdict, CONFIG_EXIT);
        assert_int_equal(run.status, 1);
        size_t len = strcspn(lines[i], " ");
        snprintf(flag, sizeof(flag), "\"error\":\"%.*s", (int)len, lines[i]);
        expect_in(&run.err, flag);
        expect_in(&run.err, "not built");
        run_fini(&run);
    }
}
