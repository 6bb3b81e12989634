/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  secret.c
 * @brief Secrets of the configuration. What holds a secret for a moment is wiped before it is let go; no message quotes one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_time.h>
#include <openssl/crypto.h>

#include "vapi_clock.h"
#include "vapi_secret.h"

#define EXEC_TIMEOUT   (APR_USEC_PER_SEC * 10)
#define TEXT_MAX       65536                      /* bytes of a file or of a program's output that are looked at */

/* ---- secrets in memory ---- */

/* One secret, not NUL-terminated while it is being read. */
typedef struct buffer_t {
    char *at;
    apr_size_t len;
} buffer_t;

static apr_status_t wipe(void *data)
{
    char *value = data;

    OPENSSL_cleanse(value, strlen(value));
    return APR_SUCCESS;
}

/* A copy of `len` bytes that its pool wipes. The pool belongs to the configuration, which goes before this module does. */
static const char *keep(const char *value, apr_size_t len, apr_pool_t *p)
{
    char *kept = apr_pstrmemdup(p, value, len);

    apr_pool_cleanup_register(p, kept, wipe, apr_pool_cleanup_null);
    return kept;
}

/* Cuts at the first line's end and drops blanks there. @return NULL or what is wrong with it */
static const char *cut_line(buffer_t *text)
{
    char *newline = memchr(text->at, '\n', text->len);
    apr_size_t filled = text->len;

    if (newline) {
        text->len = (apr_size_t)(newline - text->at);
    }
    while (text->len && apr_isspace(text->at[text->len - 1])) {
        text->len--;
    }
    if (text->len == 0) {
        return "its first line is empty";
    }
    if (!newline && filled == TEXT_MAX) {
        return "its first line is longer than 64 KB";
    }
    return memchr(text->at, '\0', text->len) ? "its first line holds a NUL byte" : NULL;
}

/* ---- file: ---- */

static const char *status_text(apr_status_t rv, apr_pool_t *p)
{
    char text[120];

    return apr_pstrdup(p, apr_strerror(rv, text, sizeof(text)));
}

/* A name given to two openings of a file would leave time to change it between: the open file is asked, not its path. */
static const char *check_file(apr_file_t *file, const char *path, const char *key, const vapi_secret_env_t *env, apr_pool_t *ptemp)
{
    apr_finfo_t info;
    apr_status_t rv = apr_file_info_get(&info, APR_FINFO_TYPE | APR_FINFO_PROT, file);

    if (rv != APR_SUCCESS) {
        return status_text(rv, ptemp);
    }
    if (info.filetype != APR_REG) {
        return "not a regular file";
    }
    if (info.protection & (APR_FPROT_GWRITE | APR_FPROT_WWRITE)) {
        return "group or others may write it (chmod go-w)";
    }
    if (info.protection & APR_FPROT_WREAD) {
        APR_ARRAY_PUSH(env->warnings, const char *) =
            apr_psprintf(env->warnings->pool, "%s: others may read %s (chmod o-r)", key, path);
    }
    return NULL;
}

static const char *read_line_of(apr_file_t *file, const char **value, apr_pool_t *p, apr_pool_t *ptemp)
{
    buffer_t text = { apr_palloc(ptemp, TEXT_MAX), 0 };
    apr_status_t rv = apr_file_read_full(file, text.at, TEXT_MAX, &text.len);
    apr_size_t filled = text.len;
    const char *error = rv == APR_SUCCESS || rv == APR_EOF ? cut_line(&text) : status_text(rv, ptemp);

    if (!error) {
        *value = keep(text.at, text.len, p);
    }
    OPENSSL_cleanse(text.at, filled);
    return error;
}

static const char *read_file(const char **value, const char *written, const char *key, const vapi_secret_env_t *env, apr_pool_t *p,
                             apr_pool_t *ptemp)
{
    apr_file_t *file;
    char *path;
    const char *error;
    apr_status_t rv;

    if (*written == '\0') {
        return apr_psprintf(p, "%s: no file is named", key);
    }
    rv = apr_filepath_merge(&path, env->server_root, written, 0, ptemp);
    if (rv == APR_SUCCESS) {
        rv = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_FPROT_OS_DEFAULT, ptemp);
    }
    if (rv != APR_SUCCESS) {
        return apr_psprintf(p, "%s: the file %s cannot be read: %s", key, written, status_text(rv, ptemp));
    }
    error = check_file(file, path, key, env, ptemp);
    if (!error) {
        error = read_line_of(file, value, p, ptemp);
    }
    apr_file_close(file);
    return error ? apr_psprintf(p, "%s: the file %s is refused: %s", key, path, error) : NULL;
}

/* ---- exec: ---- */

static char *const *parted(const char *command, apr_pool_t *ptemp)
{
    apr_array_header_t *words = apr_array_make(ptemp, 8, sizeof(char *));
    char *last;
    char *word = apr_strtok(apr_pstrdup(ptemp, command), " \t", &last);

    for (; word; word = apr_strtok(NULL, " \t", &last)) {
        APR_ARRAY_PUSH(words, char *) = word;
    }
    APR_ARRAY_PUSH(words, char *) = NULL;
    return (char *const *)words->elts;
}

static const char *check_program(const char *path, apr_pool_t *ptemp)
{
    apr_finfo_t info;
    apr_status_t rv;

    if (path[0] != '/') {
        return "its path must be absolute";
    }
    rv = apr_stat(&info, path, APR_FINFO_TYPE | APR_FINFO_PROT, ptemp);
    if (rv != APR_SUCCESS) {
        return status_text(rv, ptemp);
    }
    if (info.filetype != APR_REG || access(path, X_OK) != 0) {
        return "not an executable file";
    }
    if (info.protection & (APR_FPROT_GWRITE | APR_FPROT_WWRITE)) {
        return "group or others may write it (chmod go-w)";
    }
    return NULL;
}

/* The child's side: only calls that are safe after a fork. A group of its own lets the parent end what it starts, too. */
static void run_program(char *const *argv, int output)
{
    int nothing = open("/dev/null", O_RDONLY);

    setpgid(0, 0);
    if (nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0) {
        execv(argv[0], argv);
    }
    _exit(127);
}

static pid_t start_program(char *const *argv, int *output)
{
    int ends[2];
    pid_t pid;

    if (pipe(ends) != 0) {
        return -1;
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid = fork();
    if (pid == 0) {
        run_program(argv, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return -1;
    }
    setpgid(pid, pid);
    *output = ends[0];
    return pid;
}

static int milliseconds_left(apr_time_t deadline)
{
    return (int)((vapi_clock_left(deadline) + 999) / 1000);
}

/* Reads until the program closes its output. @return NULL or what went wrong */
static const char *collect(buffer_t *text, int output, apr_time_t deadline)
{
    struct pollfd waiting = { output, POLLIN, 0 };

    for (;;) {
        int ready = poll(&waiting, 1, milliseconds_left(deadline));
        ssize_t n;

        if (ready == 0) {
            return "it did not end within 10 seconds";
        }
        n = ready > 0 ? read(output, text->at + text->len, TEXT_MAX - text->len) : -1;
        if (n == 0) {
            return text->len < TEXT_MAX ? NULL : "it writes more than 64 KB";
        }
        if (n > 0) {
            text->len += (apr_size_t)n;
        }
        else if (errno != EINTR) {
            return "its output cannot be read";
        }
    }
}

/* Waits for the end of a program whose output is read; at the deadline, or at once when `error` is set, it is killed with all it
 * started. */
static const char *end_program(pid_t pid, const char *error, apr_time_t deadline)
{
    int status = 0;
    pid_t ended = 0;

    while (!error && ended == 0) {
        ended = waitpid(pid, &status, WNOHANG);
        if (ended == 0) {
            if (!milliseconds_left(deadline)) {
                error = "it did not end within 10 seconds";
            }
            apr_sleep(5000);
        }
        else if (ended < 0 && errno == EINTR) {
            ended = 0;
        }
    }
    if (error) {
        kill(-pid, SIGKILL);
        do {
            ended = waitpid(pid, &status, 0);
        } while (ended < 0 && errno == EINTR);
        return error;
    }
    return ended == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "it failed";
}

static const char *run(const char **value, char *const *argv, apr_pool_t *p, apr_pool_t *ptemp)
{
    buffer_t text = { apr_palloc(ptemp, TEXT_MAX), 0 };
    apr_time_t deadline = vapi_clock_now() + EXEC_TIMEOUT;
    apr_size_t filled;
    const char *error;
    int output;
    pid_t pid = start_program(argv, &output);

    if (pid < 0) {
        return "it cannot be started";
    }
    error = end_program(pid, collect(&text, output, deadline), deadline);
    close(output);
    filled = text.len;
    if (!error) {
        error = cut_line(&text);
    }
    if (!error) {
        *value = keep(text.at, text.len, p);
    }
    OPENSSL_cleanse(text.at, filled);
    return error;
}

/* A value that the first reading of the configuration left for the second, and how many mentions of the command left it. Process
 * pool. */
typedef struct left_t {
    int mentions;
    char value[];
} left_t;

static const char *left_key(const char *command, apr_pool_t *ptemp)
{
    return apr_pstrcat(ptemp, "mod_vapi_transfer:exec:", command, NULL);
}

static left_t *find_left(const char *command, const vapi_secret_env_t *env, apr_pool_t *ptemp)
{
    void *left = NULL;

    if (env->process) {
        apr_pool_userdata_get(&left, left_key(command, ptemp), env->process);
    }
    return left;
}

/* Sets no cleanup: the process pool may outlive this module's code. */
static void leave(const char *command, const char *value, const vapi_secret_env_t *env, apr_pool_t *ptemp)
{
    apr_size_t len = strlen(value);
    left_t *left = apr_palloc(env->process, sizeof(*left) + len + 1);

    left->mentions = 1;
    memcpy(left->value, value, len + 1);
    apr_pool_userdata_set(left, left_key(command, ptemp), NULL, env->process);
}

/* The first pass adds a mention, the second takes one away; the last one to take wipes. */
static const char *take_left(left_t *left, const char *command, const vapi_secret_env_t *env, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *value = keep(left->value, strlen(left->value), p);

    left->mentions += env->first_pass ? 1 : -1;
    if (left->mentions == 0) {
        OPENSSL_cleanse(left->value, strlen(left->value));
        apr_pool_userdata_set(NULL, left_key(command, ptemp), NULL, env->process);
    }
    return value;
}

static const char *read_program(const char **value, const char *command, const char *key, const vapi_secret_env_t *env, apr_pool_t *p,
                                apr_pool_t *ptemp)
{
    left_t *left = find_left(command, env, ptemp);
    char *const *argv = parted(command, ptemp);
    const char *error;

    if (left) {
        *value = take_left(left, command, env, p, ptemp);
        return NULL;
    }
    if (!argv[0]) {
        return apr_psprintf(p, "%s: no program is named", key);
    }
    error = check_program(argv[0], ptemp);
    if (!error) {
        error = run(value, argv, p, ptemp);
    }
    if (error) {
        return apr_psprintf(p, "%s: the program %s is refused: %s", key, argv[0], error);
    }
    if (env->first_pass && env->process) {
        leave(command, *value, env, ptemp);
    }
    return NULL;
}

/* ---- env: and literals ---- */

static const char *read_environment(const char **value, const char *name, const char *key, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *found = getenv(name);
    buffer_t text;
    const char *error;

    if (!*name) {
        return apr_psprintf(p, "%s: no environment variable is named", key);
    }
    if (!found) {
        return apr_psprintf(p, "%s: the environment variable %s is not set", key, name);
    }
    text.at = apr_pstrdup(ptemp, found);
    text.len = strlen(found);
    error = cut_line(&text);
    if (!error) {
        *value = keep(text.at, text.len, p);
    }
    OPENSSL_cleanse(text.at, strlen(text.at));
    return error ? apr_psprintf(p, "%s: the environment variable %s is refused: %s", key, name, error) : NULL;
}

static const char *read_literal(const char **value, const char *written, const char *key, const vapi_secret_env_t *env, apr_pool_t *p)
{
    if (*written == '\0') {
        return apr_psprintf(p, "%s: is empty", key);
    }
    APR_ARRAY_PUSH(env->warnings, const char *) =
        apr_psprintf(env->warnings->pool, "%s: stands in the configuration itself, where -D DUMP_CONFIG and mod_info show it;"
                     " file:, env: or exec: keep it out", key);
    *value = keep(written, strlen(written), p);
    return NULL;
}

/* ---- the face ---- */

typedef enum { FROM_FILE, FROM_ENVIRONMENT, FROM_PROGRAM, LITERAL } kind_t;

static const struct {
    const char *prefix;
    const char *name;
} kinds[] = {
    [FROM_FILE] = { "file:", "file" },
    [FROM_ENVIRONMENT] = { "env:", "env" },
    [FROM_PROGRAM] = { "exec:", "exec" },
    [LITERAL] = { "", "literal" },
};

static kind_t kind_of(const char *written)
{
    kind_t kind = FROM_FILE;

    while (strncmp(written, kinds[kind].prefix, strlen(kinds[kind].prefix)) != 0) {
        kind++;
    }
    return kind;
}

const char *vapi_secret_kind(const char *written)
{
    return kinds[kind_of(written)].name;
}

const char *vapi_secret_read(const char **value, const char *written, const char *key, const vapi_secret_env_t *env, apr_pool_t *p,
                             apr_pool_t *ptemp)
{
    kind_t kind = kind_of(written);
    const char *rest = written + strlen(kinds[kind].prefix);

    switch (kind) {
    case FROM_FILE:
        return read_file(value, rest, key, env, p, ptemp);
    case FROM_ENVIRONMENT:
        return read_environment(value, rest, key, p, ptemp);
    case FROM_PROGRAM:
        return read_program(value, rest, key, env, p, ptemp);
    default:
        return read_literal(value, rest, key, env, p);
    }
}
