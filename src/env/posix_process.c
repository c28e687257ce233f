#include "env/posix_process.h"

#include "base/mem.h"
#include "env/posix_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct posix_process {
    uv_process_t handle;
    struct posix_env *env;
    posix_exit_fn *done;
    void *ctx;
};

static struct posix_env *posix_of(struct env *env)
{
    return CONTAINER_OF(env, struct posix_env, env);
}

static void process_closed(uv_handle_t *handle)
{
    mem_free(CONTAINER_OF((uv_process_t *)(void *)handle, struct posix_process, handle));
}

static void process_ended(uv_process_t *handle, int64_t status, int signum)
{
    struct posix_process *process = CONTAINER_OF(handle, struct posix_process, handle);
    posix__awake(process->env);
    process->done(process->ctx, (int)status, signum);
    uv_close((uv_handle_t *)handle, process_closed);
}

static FALLIBLE refused(int failed, const char *name, struct errbuf *why)
{
    bool is_path = strchr(name, '/') != NULL;
    if (failed == UV_ENOENT && !is_path) {
        return errf(why, ERR_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", name);
    }
    const char *reason = failed == UV_ENOENT ? "no such file or directory" : uv_strerror(failed);
    enum err err = failed == UV_ENOENT ? ERR_NOT_FOUND : failed == UV_EACCES ? ERR_PERM : ERR_IO;
    return errf(why, err, "fork/exec %s: %s", name, reason);
}

enum err posix_run(struct env *base, const char *const *argv, const char *const *environment,
                   posix_exit_fn *done, void *ctx, struct errbuf *why)
{
    struct posix_env *env = posix_of(base);
    struct posix_process *process = NEW(struct posix_process);
    uv_stdio_container_t files[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDOUT_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
    };
    uv_process_options_t options = {
        .exit_cb = process_ended,
        .file = argv[0],
        .args = (char **)(uintptr_t)argv,
        .env = (char **)(uintptr_t)environment,
        .stdio_count = 3,
        .stdio = files,
    };
    process->env = env;
    process->done = done;
    process->ctx = ctx;
    int failed = uv_spawn(&env->uv, &process->handle, &options);
    if (failed != 0) {
        /* libuv has made the handle even so. */
        uv_close((uv_handle_t *)&process->handle, process_closed);
        return refused(failed, argv[0], why);
    }
    return ERR_OK;
}

void posix_exit_text(int status, int signum, char *out, size_t cap)
{
    if (signum == 0) {
        snprintf(out, cap, "exit status %d", status);
        return;
    }
    snprintf(out, cap, "signal: %s", strsignal(signum));
    for (char *c = out; *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
}

static void input_ready(uv_poll_t *poll, int status, int events)
{
    struct posix_env *env = CONTAINER_OF(poll, struct posix_env, input);
    UNUSED(status);
    UNUSED(events);
    posix__awake(env);
    uv_poll_stop(poll);
    env->input_ready(env->input_ctx);
}

/* uv_poll would make standard input non-blocking, and with it the terminal, for everybody who has
 * it open and beyond our end. So libuv is given an epoll of our own that looks at it. */
static bool input_open(struct posix_env *env)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    if (epoll_ctl(fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0 ||
        uv_poll_init(&env->uv, &env->input, fd) != 0) {
        close(fd); /* EPERM: a file, which never blocks */
        return false;
    }
    env->input_fd = fd;
    env->has_input = true;
    return true;
}

bool posix_await_input(struct env *base, void (*fn)(void *ctx), void *ctx)
{
    struct posix_env *env = posix_of(base);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    if (!env->has_input && !input_open(env)) {
        return false;
    }
    env->input_ready = fn;
    env->input_ctx = ctx;
    return epoll_ctl(env->input_fd, EPOLL_CTL_MOD, STDIN_FILENO, &event) == 0 &&
           uv_poll_start(&env->input, UV_READABLE, input_ready) == 0;
}

void posix__process_fini(struct posix_env *env)
{
    if (env->has_input) {
        uv_close((uv_handle_t *)&env->input, NULL);
        close(env->input_fd);
    }
}
