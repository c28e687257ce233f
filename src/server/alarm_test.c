#include "server/alarm.h"

#include "base/mem.h"
#include "storage/manual_env.h"
#include "unit.h"

struct world {
    struct manual_env manual;
    struct backend *backend;
    struct alarms *alarms;
    char *path;
    uint64_t index;
};

static enum err world_try(struct world *w, struct errbuf *why)
{
    manual_env_init(&w->manual, NULL);
    struct backend_options options = {.env = &w->manual.env, .path = w->path, .no_sync = true};
    assert_int_equal(backend_open(&options, &w->backend, why), ERR_OK);
    return alarms_open(w->backend, &w->alarms, why);
}

static void world_close(struct world *w)
{
    alarms_close(&w->alarms);
    assert_null(w->alarms);
    backend_close(&w->backend);
}

static void world_open(struct world *w)
{
    struct errbuf why = {""};
    *w = (struct world){.path = mem_printf("%s/db", test_dir())};
    assert_int_equal(world_try(w, &why), ERR_OK);
}

static void world_reopen(struct world *w)
{
    struct errbuf why = {""};
    world_close(w);
    assert_int_equal(world_try(w, &why), ERR_OK);
}

static bool change(struct world *w, bool is_on, uint64_t member, int32_t type)
{
    struct alarm alarm = {.member_id = member, .type = type};
    backend_begin(w->backend);
    bool has_changed =
        is_on ? alarms_activate(w->alarms, alarm) : alarms_deactivate(w->alarms, alarm);
    backend_end(w->backend, ++w->index, 1);
    return has_changed;
}

static void assert_at(const struct world *w, size_t at, uint64_t member, int32_t type)
{
    struct alarm alarm = alarms_at(w->alarms, at);
    assert_int_equal(alarm.member_id, member);
    assert_int_equal(alarm.type, type);
}

TEST(alarm, a_set_is_in_order_of_type_then_member)
{
    struct world w;
    world_open(&w);
    assert_int_equal(alarms_count(w.alarms), 0);
    assert_false(alarms_any(w.alarms, ALARM_NOSPACE));
    assert_true(change(&w, true, 9, ALARM_CORRUPT));
    assert_true(change(&w, true, UINT64_MAX, ALARM_NOSPACE));
    assert_true(change(&w, true, 3, ALARM_NOSPACE));
    assert_false(change(&w, true, 3, ALARM_NOSPACE));
    assert_int_equal(alarms_count(w.alarms), 3);
    assert_at(&w, 0, 3, ALARM_NOSPACE);
    assert_at(&w, 1, UINT64_MAX, ALARM_NOSPACE);
    assert_at(&w, 2, 9, ALARM_CORRUPT);
    assert_true(alarms_any(w.alarms, ALARM_NOSPACE));
    assert_true(change(&w, false, 3, ALARM_NOSPACE));
    assert_true(alarms_any(w.alarms, ALARM_NOSPACE)); /* the other's */
    assert_false(change(&w, false, 3, ALARM_NOSPACE));
    assert_false(change(&w, false, 9, ALARM_NOSPACE));
    assert_true(change(&w, false, UINT64_MAX, ALARM_NOSPACE));
    assert_false(alarms_any(w.alarms, ALARM_NOSPACE));
    assert_true(alarms_any(w.alarms, ALARM_CORRUPT));
    world_close(&w);
    mem_free(w.path);
}

TEST(alarm, a_set_survives_a_restart)
{
    struct world w;
    world_open(&w);
    change(&w, true, 7, ALARM_CORRUPT);
    change(&w, true, 8, ALARM_NOSPACE);
    change(&w, true, 9, ALARM_NOSPACE);
    change(&w, true, 7, 5); /* of a newer version */
    change(&w, false, 8, ALARM_NOSPACE);
    world_reopen(&w);
    assert_int_equal(alarms_count(w.alarms), 3);
    assert_at(&w, 0, 9, ALARM_NOSPACE);
    assert_at(&w, 1, 7, ALARM_CORRUPT);
    assert_at(&w, 2, 7, 5);
    world_close(&w);
    mem_free(w.path);
}

/* The row that etcd writes: the marshalled AlarmMember as key, nothing as value. */
TEST(alarm, a_row_is_etcds)
{
    struct world w;
    struct slice value;
    world_open(&w);
    change(&w, true, 300, ALARM_CORRUPT);
    assert_true(backend_get(w.backend, BUCKET_ALARM, SLICE("\x08\xac\x02\x10\x02"), &value));
    assert_int_equal(value.len, 0);
    change(&w, false, 300, ALARM_CORRUPT);
    assert_false(backend_get(w.backend, BUCKET_ALARM, SLICE("\x08\xac\x02\x10\x02"), &value));
    struct buf out = {0};
    alarm_encode((struct alarm){0}, &out);
    assert_int_equal(out.len, 0);
    alarm_encode((struct alarm){.type = -1}, &out); /* as protobuf: ten bytes */
    assert_int_equal(out.len, 11);
    buf_fini(&out);
    world_close(&w);
    mem_free(w.path);
}

TEST(alarm, a_row_that_is_no_alarm_is_refused_with_a_sentence)
{
    static const char *const rows[] = {"\x08", "\x0a\x05x", "\x08\xff\xff\xff\xff\xff\xff\xff\xff"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world w;
        struct errbuf why = {""};
        world_open(&w);
        backend_begin(w.backend);
        backend_put(w.backend, BUCKET_ALARM, slice_str(rows[i]), SLICE_EMPTY);
        backend_end(w.backend, ++w.index, 1);
        world_close(&w);
        assert_int_equal(world_try(&w, &why), ERR_CORRUPT);
        assert_non_null(strstr(why.text, "bucket alarm"));
        assert_null(w.alarms);
        backend_close(&w.backend);
        mem_free(w.path);
    }
}

TEST(alarm, types_have_etcds_names)
{
    assert_string_equal(alarm_type_name(ALARM_NONE), "NONE");
    assert_string_equal(alarm_type_name(ALARM_NOSPACE), "NOSPACE");
    assert_string_equal(alarm_type_name(ALARM_CORRUPT), "CORRUPT");
    assert_string_equal(alarm_type_name(3), "UNKNOWN");
    assert_string_equal(alarm_type_name(-1), "UNKNOWN");
}
