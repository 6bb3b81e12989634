/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_file_info.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "vapi_secret.h"

static apr_pool_t *pool;
static const char *dir;

static const char *in_dir(const char *name)
{
    return apr_pstrcat(pool, dir, "/", name, NULL);
}

static void write_file(const char *name, const char *content, size_t len, mode_t mode)
{
    const char *path = in_dir(name);
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, len, file), len);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void write_text(const char *name, const char *content, mode_t mode)
{
    write_file(name, content, strlen(content), mode);
}

static vapi_secret_env_t env_of(apr_pool_t *process, int first_pass)
{
    vapi_secret_env_t env = { dir, process, first_pass, apr_array_make(pool, 2, sizeof(const char *)) };

    return env;
}

/* The value, or `! ` and the error; `~` before it when the administrator is warned. */
static const char *read_in(const vapi_secret_env_t *env, const char *written)
{
    const char *value = NULL;
    const char *error = vapi_secret_read(&value, written, "secret", env, pool, pool);

    return apr_pstrcat(pool, env->warnings->nelts ? "~" : "", error ? "! " : "", error ? error : value, NULL);
}

static const char *read_once(const char *written)
{
    vapi_secret_env_t env = env_of(NULL, 0);

    return read_in(&env, written);
}

static void test_kinds(void **state)
{
    (void)state;
    assert_string_equal(vapi_secret_kind("file:x"), "file");
    assert_string_equal(vapi_secret_kind("env:x"), "env");
    assert_string_equal(vapi_secret_kind("exec:/x"), "exec");
    assert_string_equal(vapi_secret_kind("x"), "literal");
    assert_string_equal(vapi_secret_kind("File:x"), "literal");
    assert_string_equal(vapi_secret_kind(""), "literal");
}

static void test_literal(void **state)
{
    vapi_secret_env_t env = env_of(NULL, 0);

    (void)state;
    assert_string_equal(read_in(&env, "hush "), "~hush ");
    assert_int_equal(env.warnings->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(env.warnings, 0, const char *),
                        "secret: stands in the configuration itself, where -D DUMP_CONFIG and mod_info show it; file:, env: or exec: keep it out");
    assert_string_equal(read_once(""), "! secret: is empty");
}

static void test_file(void **state)
{
    static char long_line[70000];

    (void)state;
    write_text("plain", "hush hush \t\r\nsecond line\n", 0600);
    write_text("bare", "hush", 0640);
    write_text("open", "hush\n", 0644);
    write_text("group", "hush\n", 0660);
    write_text("world", "hush\n", 0602);
    write_text("blank", " \r\nhush\n", 0600);
    write_text("empty", "", 0600);
    write_file("nul", "hu\0sh\n", 6, 0600);
    write_file("nul2", "hush\n\0", 6, 0600);
    memset(long_line, 'x', sizeof(long_line));
    write_file("long", long_line, sizeof(long_line), 0600);

    assert_string_equal(read_once("file:plain"), "hush hush");
    assert_string_equal(read_once(apr_pstrcat(pool, "file:", in_dir("plain"), NULL)), "hush hush");
    assert_string_equal(read_once("file:bare"), "hush");
    assert_string_equal(read_once("file:nul2"), "hush");
    assert_string_equal(read_once("file:open"), "~hush");
    assert_string_equal(read_once("file:group"), apr_psprintf(pool, "! secret: the file %s/group is refused: group or others may write it (chmod go-w)", dir));
    assert_string_equal(read_once("file:world"), apr_psprintf(pool, "! secret: the file %s/world is refused: group or others may write it (chmod go-w)", dir));
    assert_string_equal(read_once("file:blank"), apr_psprintf(pool, "! secret: the file %s/blank is refused: its first line is empty", dir));
    assert_string_equal(read_once("file:empty"), apr_psprintf(pool, "! secret: the file %s/empty is refused: its first line is empty", dir));
    assert_string_equal(read_once("file:nul"), apr_psprintf(pool, "! secret: the file %s/nul is refused: its first line holds a NUL byte", dir));
    assert_string_equal(read_once("file:long"), apr_psprintf(pool, "! secret: the file %s/long is refused: its first line is longer than 64 KB", dir));
    assert_string_equal(read_once("file:."), apr_psprintf(pool, "! secret: the file %s/ is refused: not a regular file", dir));
    assert_string_equal(read_once("file:"), "! secret: no file is named");
    assert_string_equal(read_once("file:none"), apr_psprintf(pool, "! secret: the file none cannot be read: %s", strerror(ENOENT)));
}

static void test_environment(void **state)
{
    (void)state;
    setenv("VAPI_TEST_SECRET", "hush\r\n", 1);
    setenv("VAPI_TEST_EMPTY", "", 1);
    unsetenv("VAPI_TEST_NONE");
    assert_string_equal(read_once("env:VAPI_TEST_SECRET"), "hush");
    assert_string_equal(getenv("VAPI_TEST_SECRET"), "hush\r\n");
    assert_string_equal(read_once("env:VAPI_TEST_EMPTY"), "! secret: the environment variable VAPI_TEST_EMPTY is refused: its first line is empty");
    assert_string_equal(read_once("env:VAPI_TEST_NONE"), "! secret: the environment variable VAPI_TEST_NONE is not set");
}

static const char *exec_of(const char *name, const char *arguments)
{
    return apr_pstrcat(pool, "exec:", in_dir(name), arguments, NULL);
}

static const char *refused(const char *name, const char *why)
{
    return apr_psprintf(pool, "! secret: the program %s/%s is refused: %s", dir, name, why);
}

static void test_program(void **state)
{
    (void)state;
    write_text("args", "#!/bin/sh\nprintf '%s|' \"$#\" \"$@\"\necho\necho second\n", 0755);
    write_text("stdin", "#!/bin/sh\nread x\necho \"got:$x\"\n", 0700);
    write_text("fails", "#!/bin/sh\necho hush\nexit 3\n", 0700);
    write_text("killed", "#!/bin/sh\necho hush\nkill -9 $$\n", 0700);
    write_text("silent", "#!/bin/sh\n:\n", 0700);
    write_text("chatty", "#!/bin/sh\nhead -c 70000 /dev/zero\n", 0700);
    write_text("slowly", "#!/bin/sh\nprintf hu\nsleep 0.2\necho sh\nexec >&-\nsleep 0.2\n", 0700);
    write_text("shared", "#!/bin/sh\necho hush\n", 0775);
    write_text("data", "hush\n", 0600);
    write_text("broken", "#!/no/such/interpreter\n", 0700);

    assert_string_equal(read_once(exec_of("args", " a  'b c'\t\"$HOME\" *;id")), "5|a|'b|c'|\"$HOME\"|*;id|");
    assert_string_equal(read_once(exec_of("args", "")), "0|");
    assert_string_equal(read_once(exec_of("stdin", "")), "got:");
    assert_string_equal(read_once(exec_of("slowly", "")), "hush");
    assert_string_equal(read_once(exec_of("fails", " x")), refused("fails", "it failed"));
    assert_string_equal(read_once(exec_of("killed", "")), refused("killed", "it failed"));
    assert_string_equal(read_once(exec_of("broken", "")), refused("broken", "it failed"));
    assert_string_equal(read_once(exec_of("silent", "")), refused("silent", "its first line is empty"));
    assert_string_equal(read_once(exec_of("chatty", "")), refused("chatty", "it writes more than 64 KB"));
    assert_string_equal(read_once(exec_of("shared", "")), refused("shared", "group or others may write it (chmod go-w)"));
    assert_string_equal(read_once(exec_of("data", "")), refused("data", "not an executable file"));
    assert_string_equal(read_once(exec_of("none", "")), refused("none", strerror(ENOENT)));
    assert_string_equal(read_once("exec:bin/x"), "! secret: the program bin/x is refused: its path must be absolute");
    assert_string_equal(read_once("exec: "), "! secret: no program is named");
}

/* A process that has ended and that nobody asks for (its parent is gone, and process 1 of a container may ask for none) is not alive. */
static int is_alive(const char *pid_file)
{
    FILE *file = fopen(in_dir(pid_file), "r");
    char state = 'X';
    long pid = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld", &pid), 1);
    fclose(file);
    file = fopen(apr_psprintf(pool, "/proc/%ld/stat", pid), "r");
    if (file) {
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
            state = 'X';
        }
        fclose(file);
    }
    return state != 'Z' && state != 'X';
}

/* A program that hangs is ended after ten seconds, with what it started. */
static void test_program_hangs(void **state)
{
    apr_time_t begun = apr_time_now();
    apr_interval_time_t took;
    int tries;

    (void)state;
    write_text("hangs", "#!/bin/sh\nsleep 60 &\necho $! >\"$1\"\necho hush\nwait\n", 0700);
    assert_string_equal(read_once(exec_of("hangs", apr_pstrcat(pool, " ", in_dir("pid"), NULL))), refused("hangs", "it did not end within 10 seconds"));
    took = apr_time_now() - begun;
    assert_true(took >= apr_time_from_sec(10) && took < apr_time_from_sec(40));
    for (tries = 0; tries < 500 && is_alive("pid"); tries++) {
        apr_sleep(20000);
    }
    assert_false(is_alive("pid"));
}

/* What a first start, which reads the configuration twice, makes of two mentions of one command; then a restart. */
static void test_program_runs_once_a_start(void **state)
{
    apr_pool_t *process;
    vapi_secret_env_t first, second;
    const char *command;

    (void)state;
    apr_pool_create(&process, pool);
    first = env_of(process, 1);
    second = env_of(process, 0);
    write_text("counts", "#!/bin/sh\necho x >>\"$1\"\nwc -l <\"$1\"\n", 0700);
    command = exec_of("counts", apr_pstrcat(pool, " ", in_dir("count"), NULL));

    assert_string_equal(read_in(&first, command), "1");
    assert_string_equal(read_in(&first, command), "1");
    assert_string_equal(read_in(&second, command), "1");
    assert_string_equal(read_in(&second, command), "1");
    assert_string_equal(read_in(&second, command), "2");
    assert_string_equal(read_in(&second, command), "3");
    apr_pool_destroy(process);
}

typedef struct watched_t {
    const char *value;
    char left[8];
} watched_t;

static apr_status_t look(void *data)
{
    watched_t *watched = data;

    memcpy(watched->left, watched->value, 4);
    return APR_SUCCESS;
}

/* The bytes are gone when the pool of a value lets them go. A cleanup registered before the reading runs after the wiping. */
static void test_wiped(void **state)
{
    static const char zeros[4];
    watched_t watched = { NULL, "hush" };
    vapi_secret_env_t env = env_of(NULL, 0);
    apr_pool_t *p;

    (void)state;
    apr_pool_create(&p, pool);
    apr_pool_cleanup_register(p, &watched, look, apr_pool_cleanup_null);
    write_text("wiped", "hush\n", 0600);
    assert_null(vapi_secret_read(&watched.value, "file:wiped", "secret", &env, p, pool));
    assert_string_equal(watched.value, "hush");
    apr_pool_destroy(p);
    assert_memory_equal(watched.left, zeros, 4);
}

static const char *make_dir(void)
{
    return mkdtemp(apr_pstrdup(pool, "/tmp/vapi_secret_test.XXXXXX"));
}

static void remove_dir(void)
{
    apr_dir_t *open_dir;
    apr_finfo_t entry;

    if (apr_dir_open(&open_dir, dir, pool) != APR_SUCCESS) {
        return;
    }
    while (apr_dir_read(&entry, APR_FINFO_NAME, open_dir) == APR_SUCCESS) {
        unlink(in_dir(entry.name));
    }
    apr_dir_close(open_dir);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds), cmocka_unit_test(test_literal), cmocka_unit_test(test_file), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_program), cmocka_unit_test(test_program_runs_once_a_start),
        cmocka_unit_test(test_wiped), cmocka_unit_test(test_program_hangs),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    apr_pool_create(&pool, NULL);
    dir = make_dir();
    failed = cmocka_run_group_tests_name("secret", tests, NULL, NULL);
    remove_dir();
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
