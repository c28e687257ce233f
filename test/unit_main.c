#include "unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TESTS_MAX 1024
#define DIRS_MAX 4096

static struct CMUnitTest tests[TESTS_MAX];
static size_t test_count;
static char dirs[DIRS_MAX][96];
static size_t dir_count;

void unit_register(const char *name, void (*fn)(void **state))
{
    if (test_count == TESTS_MAX) {
        fprintf(stderr, "too many tests in one program\n");
        abort();
    }
    tests[test_count++] = (struct CMUnitTest){.name = name, .test_func = fn};
}

const char *test_dir(void)
{
    const char *base = getenv("TMPDIR");
    if (dir_count == DIRS_MAX) {
        fprintf(stderr, "too many test directories in one program\n");
        abort();
    }
    char *dir = dirs[dir_count++];
    snprintf(dir, sizeof(dirs[0]), "%s/etcdc-test-XXXXXX", base == NULL ? "/var/tmp" : base);
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        abort();
    }
    return dir;
}

bool test_rewrite(void)
{
    const char *value = getenv("REWRITE");
    return value != NULL && strcmp(value, "1") == 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

int main(int argc, char **argv)
{
    size_t kept = 0;
    for (size_t i = 0; i < test_count; i++) {
        if (argc < 2 || strstr(tests[i].name, argv[1]) != NULL) {
            tests[kept++] = tests[i];
        }
    }
    if (getenv("CMOCKA_MESSAGE_OUTPUT") == NULL) {
        cmocka_set_message_output(CM_OUTPUT_TAP);
    }
    int failed = _cmocka_run_group_tests(argv[0], tests, kept, NULL, NULL);
    for (size_t i = 0; i < dir_count; i++) {
        nftw(dirs[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    return failed == 0 ? 0 : 1;
}
