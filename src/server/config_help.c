/* What --help and a wrong flag print: the table's rows in etcd's layout. */
#include "server/config_priv.h"

#define INDENT "    "

void config__usage(struct buf *out)
{
    buf_append_str(
        out, "Usage:\n"
             "\n"
             "  etcd [flags]\n"
             "    Run an etcd member.\n"
             "\n"
             "  etcd --version\n"
             "    Say which version this is.\n"
             "\n"
             "  etcd -h | --help\n"
             "    Explain every flag.\n"
             "\n"
             "  etcd --config-file\n"
             "    Take every setting from a YAML file; other flags and the environment then do "
             "not count.\n"
             "\n"
             "  etcd gateway\n"
             "    Forward TCP connections to a cluster (not built yet).\n"
             "\n"
             "  etcd grpc-proxy\n"
             "    Answer for a cluster, sharing its watches and reads (not built yet).\n"
             "\n");
}

static void append_help(struct buf *out, const char *help)
{
    buf_append_str(out, INDENT);
    for (; *help != 0; help++) {
        buf_append_byte(out, (uint8_t)*help);
        if (*help == '\n') {
            buf_append_str(out, INDENT);
        }
    }
    buf_append_byte(out, '\n');
}

static void append_row(struct buf *out, const struct config_row *row)
{
    const char *shown = row->shown != NULL ? row->shown : row->initial;
    if (row->section != NULL) {
        buf_printf(out, "\n%s:\n", row->section);
    }
    buf_printf(out, "  --%s '%s'\n", row->name, shown == NULL ? "" : shown);
    append_help(out, row->help);
    if (row->kind == CONFIG_KIND_GATES) {
        config__gates_help(out, INDENT);
    }
}

void config__help(struct buf *out)
{
    for (size_t i = 0; i < config__row_count; i++) {
        append_row(out, &config__rows[i]);
    }
    buf_append_str(out,
                   "\nTake care with the unsafe flags: with them the promises of the consensus "
                   "protocol may not hold.\n\n");
}
