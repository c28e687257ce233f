#include "env/posix_tty.h"

#include "unit.h"

#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* Makes `fd` standard input; returns what that was. */
static int become_stdin(int fd)
{
    int before = dup(STDIN_FILENO);
    assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
    close(fd);
    return before;
}

static void restore_stdin(int before)
{
    dup2(before, STDIN_FILENO);
    close(before);
}

TEST(posix_tty, a_password_from_a_pipe_leaves_the_rest)
{
    int ends[2];
    char rest[16];
    struct buf password = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "secret\r\nrest", 12), 12);
    close(ends[1]);
    int before = become_stdin(ends[0]);
    assert_int_equal(posix_tty_read_password(&password, NULL), ERR_OK);
    assert_string_equal(buf_cstr(&password), "secret");
    assert_int_equal(posix_tty_read(rest, sizeof(rest)), 4);
    assert_memory_equal(rest, "rest", 4);
    assert_int_equal(posix_tty_read(rest, sizeof(rest)), 0);
    buf_reset(&password);
    assert_int_equal(posix_tty_read_password(&password, NULL), ERR_OK); /* the end is empty */
    assert_int_equal(password.len, 0);
    restore_stdin(before);
    buf_fini(&password);
}

TEST(posix_tty, a_password_that_does_not_end_is_refused)
{
    int ends[2];
    char many[5000];
    struct buf password = {0};
    struct errbuf why = {{0}};
    memset(many, 'x', sizeof(many));
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], many, sizeof(many)), sizeof(many));
    close(ends[1]);
    int before = become_stdin(ends[0]);
    assert_int_equal(posix_tty_read_password(&password, &why), ERR_TOO_LARGE);
    assert_string_equal(why.text, "the password is too long");
    restore_stdin(before);
    buf_fini(&password);
}

/* A child asks a terminal for a password; the parent types. Returns how the child ended, and what
 * the terminal showed. */
static int ask_child(const char *typed, char *shown, size_t shown_len, bool *echo_out)
{
    int master = -1;
    int slave = -1;
    struct termios modes;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        struct buf password = {0};
        setsid();
        dup2(slave, STDIN_FILENO);
        _exit(posix_tty_read_password(&password, NULL) == ERR_OK &&
                      strcmp(buf_cstr(&password), "secret") == 0
                  ? 7
                  : 1);
    }
    do { /* until echo is off, which is when the child reads */
        usleep(1000);
        assert_int_equal(tcgetattr(slave, &modes), 0);
    } while ((modes.c_lflag & ECHO) != 0);
    if (typed == NULL) {
        kill(child, SIGTERM);
    } else {
        assert_int_equal(write(master, typed, strlen(typed)), strlen(typed));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(tcgetattr(slave, &modes), 0);
    *echo_out = (modes.c_lflag & ECHO) != 0;
    close(slave);
    ssize_t got = read(master, shown, shown_len - 1);
    shown[got < 0 ? 0 : got] = 0;
    close(master);
    return status;
}

TEST(posix_tty, a_terminal_shows_nothing_of_it)
{
    char shown[64];
    bool echo = false;
    int status = ask_child("secret\n", shown, sizeof(shown), &echo);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_null(strstr(shown, "secret"));
    assert_true(echo);
}

TEST(posix_tty, a_signal_puts_the_terminal_back_first)
{
    char shown[64];
    bool echo = false;
    int status = ask_child(NULL, shown, sizeof(shown), &echo);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
    assert_true(echo);
}
