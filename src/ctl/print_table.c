/* The table format, and the columns that the simple format joins with commas. */
#include "ctl/print_priv.h"

struct table *print__member_table(void)
{
    static const char *const titles[] = {"ID",         "Status",       "Name",
                                         "Peer Addrs", "Client Addrs", "Is Learner"};
    return table_new(titles, ARRAY_LEN(titles));
}

struct table *print__health_table(void)
{
    static const char *const titles[] = {"endpoint", "health", "took", "error"};
    return table_new(titles, ARRAY_LEN(titles));
}

struct table *print__status_table(void)
{
    static const char *const titles[] = {
        "endpoint",
        "ID",
        "version",
        "storage version",
        "db size",
        "in use",
        "percentage not in use",
        "quota",
        "is leader",
        "is learner",
        "raft term",
        "raft index",
        "raft applied index",
        "errors",
        "downgrade target version",
        "downgrade enabled",
    };
    return table_new(titles, ARRAY_LEN(titles));
}

struct table *print__hashkv_table(void)
{
    static const char *const titles[] = {"endpoint", "hash", "hash_revision"};
    return table_new(titles, ARRAY_LEN(titles));
}

static void draw(struct printer *p, struct table *table)
{
    table_draw(table, p->out);
    table_free(&table);
}

static void table_members(struct printer *p, const Etcdserverpb__MemberListResponse *list)
{
    struct table *table = print__member_table();
    print__member_rows(list, table);
    draw(p, table);
}

static void table_health(struct printer *p, const struct print_health *list, size_t count)
{
    struct table *table = print__health_table();
    print__health_rows(list, count, table);
    draw(p, table);
}

static void table_status(struct printer *p, const struct print_status *list, size_t count)
{
    struct table *table = print__status_table();
    print__status_rows(list, count, table);
    draw(p, table);
}

static void table_hashkv(struct printer *p, const struct print_hashkv *list, size_t count)
{
    struct table *table = print__hashkv_table();
    print__hashkv_rows(list, count, table);
    draw(p, table);
}

const struct print_ops print_table_ops = {
    .members = table_members,
    .health = table_health,
    .status = table_status,
    .hashkv = table_hashkv,
};
