#include "base/failpoint.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static enum err set(const char *name, const char *terms)
{
    struct errbuf why;
    return failpoint_set(slice_str(name), slice_str(terms), &why);
}

static uint64_t count(const char *name)
{
    uint64_t out = 0;
    assert_int_equal(failpoint_count(slice_str(name), &out), ERR_OK);
    return out;
}

static void expect_terms(const char *name, const char *want)
{
    struct buf out = {0};
    assert_int_equal(failpoint_terms(slice_str(name), &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The status a child has that passes `point`; 0 when it comes out of it. */
static int status_of_child_passing(enum failpoint point)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        failpoint_pass(point);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(failpoint, a_point_that_is_off_does_nothing)
{
    failpoint_pass(FAILPOINT_beforeCommit);
    assert_int_equal(count("beforeCommit"), 0);
    expect_terms("beforeCommit", "");
}

TEST(failpoint, panic_ends_the_process_with_status_2)
{
    assert_int_equal(set("beforeCommit", "panic"), ERR_OK);
    assert_int_equal(status_of_child_passing(FAILPOINT_beforeCommit), 2);
    assert_int_equal(set("beforeCommit", "panic(\"a->b 5*%\")"), ERR_OK);
    assert_int_equal(status_of_child_passing(FAILPOINT_afterCommit), 0);
    assert_int_equal(set("beforeCommit", "off"), ERR_OK);
    assert_int_equal(status_of_child_passing(FAILPOINT_beforeCommit), 0);
}

TEST(failpoint, sleep_takes_a_duration_or_milliseconds)
{
    static const char *const terms[] = {"sleep(\"20ms\")", "sleep(20)"};
    for (size_t i = 0; i < ARRAY_LEN(terms); i++) {
        assert_int_equal(set("raftBeforeSave", terms[i]), ERR_OK);
        double begun = seconds();
        failpoint_pass(FAILPOINT_raftBeforeSave);
        assert_true(seconds() - begun >= 0.02);
    }
    assert_int_equal(set("raftBeforeSave", ""), ERR_OK);
}

TEST(failpoint, a_counted_term_acts_so_often_and_then_the_next_one_does)
{
    assert_int_equal(set("raftAfterSave", "2*off->panic"), ERR_OK);
    failpoint_pass(FAILPOINT_raftAfterSave);
    failpoint_pass(FAILPOINT_raftAfterSave);
    assert_int_equal(count("raftAfterSave"), 2);
    assert_int_equal(status_of_child_passing(FAILPOINT_raftAfterSave), 2);
    assert_int_equal(set("raftAfterSave", "1*sleep(0)"), ERR_OK);
    failpoint_pass(FAILPOINT_raftAfterSave);
    failpoint_pass(FAILPOINT_raftAfterSave);
    assert_int_equal(count("raftAfterSave"), 1);
    assert_int_equal(set("raftAfterSave", ""), ERR_OK);
}

TEST(failpoint, a_percentage_acts_about_so_often)
{
    assert_int_equal(set("raftAfterSave", "25%sleep(0)"), ERR_OK);
    for (int i = 0; i < 4000; i++) {
        failpoint_pass(FAILPOINT_raftAfterSave);
    }
    assert_in_range(count("raftAfterSave"), 850, 1150);
    assert_int_equal(set("raftAfterSave", "0%panic"), ERR_OK);
    failpoint_pass(FAILPOINT_raftAfterSave);
    assert_int_equal(set("raftAfterSave", "100%3*sleep(0)"), ERR_OK);
    for (int i = 0; i < 5; i++) {
        failpoint_pass(FAILPOINT_raftAfterSave);
    }
    assert_int_equal(count("raftAfterSave"), 3);
    assert_int_equal(set("raftAfterSave", ""), ERR_OK);
}

TEST(failpoint, what_is_no_term_is_refused_and_changes_nothing)
{
    static const char *const wrong[] = {
        "panc",
        "sleep",
        "sleep()",
        "sleep(\"1\")",
        "sleep(\"-1s\")",
        "sleep(1s)",
        "sleep(1",
        "x*panic",
        "101%panic",
        "nan%panic",
        "-1%panic",
        "panic->",
        "->panic",
        "*",
        "%",
        "off(1)",
        "-1*panic",
        "return(\"x\")",
        "sleep(99999999999999999999)",
        "1*off->1*off->1*off->1*off->"
        "1*off->1*off->1*off->1*off->1*off",
    };
    char large[300];
    memset(large, ' ', sizeof(large));
    memcpy(large, "panic(", 6);
    memcpy(large + 290, ")", 2);
    assert_int_equal(set("afterCommit", "7*sleep(0)"), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (set("afterCommit", wrong[i]) != ERR_INVALID) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
    }
    assert_int_equal(set("afterCommit", large), ERR_INVALID);
    assert_int_equal(set("aftercommit", "off"), ERR_NOT_FOUND);
    assert_int_equal(set("", "off"), ERR_NOT_FOUND);
    expect_terms("afterCommit", "7*sleep(0)");
    assert_int_equal(set("afterCommit", ""), ERR_OK);
}

TEST(failpoint, several_are_set_in_one_text)
{
    struct errbuf why;
    assert_int_equal(
        failpoint_set_all(SLICE("raftBeforeSave=sleep(1);;afterCommit=5%panic\n"), &why), ERR_OK);
    expect_terms("raftBeforeSave", "sleep(1)");
    expect_terms("afterCommit", "5%panic");
    assert_int_equal(failpoint_set_all(SLICE("raftBeforeSave"), &why), ERR_INVALID);
    assert_int_equal(failpoint_set_all(SLICE("nothing=off"), &why), ERR_NOT_FOUND);
    assert_int_equal(failpoint_clear(SLICE("raftBeforeSave"), &why), ERR_OK);
    assert_int_equal(failpoint_clear(SLICE("raftBeforeSave"), &why), ERR_INVALID);
    assert_int_equal(failpoint_clear(SLICE("nothing"), &why), ERR_NOT_FOUND);
    assert_int_equal(failpoint_clear(SLICE("afterCommit"), &why), ERR_OK);
}

TEST(failpoint, the_list_is_sorted_and_complete)
{
    struct buf out = {0};
    char before[64] = "";
    size_t lines = 0;
    assert_int_equal(set("afterCommit", "1*off"), ERR_OK);
    failpoint_list(&out);
    assert_true(strncmp(buf_cstr(&out), "afterCommit=1*off\nafterStartDBTxn=\n", 35) == 0);
    for (struct slice rest = buf_slice(&out); rest.len > 0; lines++) {
        struct slice line;
        char name[64];
        rest = slice_split(rest, '\n', &line);
        snprintf(name, sizeof(name), "%.*s", (int)line.len, (const char *)line.data);
        *strchr(name, '=') = '\0';
        assert_true(strcmp(before, name) < 0);
        memcpy(before, name, sizeof(before));
    }
    assert_int_equal(lines, FAILPOINT_COUNT);
    buf_fini(&out);
    assert_int_equal(set("afterCommit", ""), ERR_OK);
}
