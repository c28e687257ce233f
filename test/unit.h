/* Unit tests over cmocka: TEST(module, what_is_true) { … } is all there is to write.
 *
 * Each x_test.c becomes a program that runs its tests in order and prints TAP. Use cmocka's
 * assert_* inside. A test that needs a scratch directory asks test_dir(). */
#ifndef TEST_UNIT_H
#define TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

void unit_register(const char *name, void (*fn)(void **state));

#define TEST(module, name)                                                                         \
    static void module##_##name(void **unit_state);                                                \
    __attribute__((constructor)) static void module##_##name##_register(void)                      \
    {                                                                                              \
        unit_register(#module ": " #name, module##_##name);                                        \
    }                                                                                              \
    static void module##_##name(__attribute__((unused)) void **unit_state)

/* An empty directory of this test's own, removed when the program ends. Static storage until the
 * next call. Under $TMPDIR, else the current directory's build tree, else /var/tmp: never tmpfs by
 * choice. */
const char *test_dir(void);

/* Leaves the test: what it needs is not here. cmocka's own skip() prints "not ok", so it is said in
 * a comment, which the test runner counts. */
#define TEST_SKIP(reason)                                                                          \
    do {                                                                                           \
        printf("# skipped: %s\n", (reason));                                                       \
        return;                                                                                    \
    } while (0)

/* Environment variable REWRITE=1: transcript tests write what they got. */
bool test_rewrite(void);

#endif
