/* What clients say about themselves ends in labels: the number of series must have a bound. */
#include "api/api_priv.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

struct counting {
    struct metrics *registry;
    struct rpc_metrics *rpc;
};

static void setup(struct counting *c)
{
    c->registry = metrics_new();
    c->rpc = rpc_metrics_new(c->registry, false);
}

static void teardown(struct counting *c)
{
    rpc_metrics_free(&c->rpc);
    metrics_free(&c->registry);
}

static void client(struct counting *c, const char *version)
{
    rpc_metrics_client(c->rpc, slice_str(version), false);
}

static size_t series_count(struct counting *c)
{
    struct buf text = {0};
    size_t count = 0;
    metrics_write(c->registry, &text);
    for (const char *at = buf_cstr(&text); (at = strstr(at, "{client_api_version=")) != NULL;
         at++) {
        count++;
    }
    buf_fini(&text);
    return count;
}

static double requests(struct counting *c, const char *version)
{
    struct buf text = {0};
    char line[128];
    double value = -1;
    snprintf(line, sizeof(line),
             "etcd_server_client_requests_total{client_api_version=\"%s\",type=\"unary\"} ",
             version);
    metrics_write(c->registry, &text);
    const char *at = strstr(buf_cstr(&text), line);
    if (at != NULL) {
        value = strtod(at + strlen(line), NULL);
    }
    buf_fini(&text);
    return value;
}

#define TOO_LONG "a version that nobody would ever give to a client of etcd"

TEST(rpc_metrics, a_version_has_one_series)
{
    struct counting c;
    setup(&c);
    client(&c, "3.6.0");
    client(&c, "3.6.0");
    client(&c, "");
    assert_int_equal(series_count(&c), 2);
    assert_int_equal((int)requests(&c, "3.6.0"), 2);
    assert_int_equal((int)requests(&c, ""), 1);
    teardown(&c);
}

TEST(rpc_metrics, more_versions_than_places_share_one_series)
{
    struct counting c;
    setup(&c);
    for (unsigned i = 0; i < 100; i++) {
        char version[16];
        snprintf(version, sizeof(version), "3.%u", i);
        client(&c, version);
    }
    assert_int_equal(series_count(&c), 33);
    assert_int_equal((int)requests(&c, "other"), 100 - 32);
    client(&c, "3.5"); /* one that has a place keeps it */
    assert_int_equal((int)requests(&c, "3.5"), 2);
    teardown(&c);
}

/* "other" may have its place before the places run out: by a text too long, or by a client that
 * calls itself so. */
TEST(rpc_metrics, the_shared_series_may_come_first)
{
    const char *const first[] = {TOO_LONG, "other"};
    for (size_t k = 0; k < ARRAY_LEN(first); k++) {
        struct counting c;
        setup(&c);
        client(&c, first[k]);
        for (unsigned i = 0; i < 100; i++) {
            char version[16];
            snprintf(version, sizeof(version), "3.%u", i);
            client(&c, version);
        }
        assert_int_equal(series_count(&c), 32);
        assert_int_equal((int)requests(&c, "other"), 1 + 100 - 31);
        teardown(&c);
    }
}

TEST(rpc_metrics, a_version_with_a_zero_byte_is_no_version)
{
    struct counting c;
    setup(&c);
    client(&c, "3");
    for (unsigned i = 0; i < 3; i++) {
        rpc_metrics_client(c.rpc, SLICE("3\0x"), false);
    }
    assert_int_equal(series_count(&c), 2);
    assert_int_equal((int)requests(&c, "other"), 3);
    teardown(&c);
}
