/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* A pool for each test: set_up() and tear_down() go with cmocka_unit_test_setup_teardown(). */
#ifndef POOL_H
#define POOL_H

#include <apr_pools.h>

static apr_pool_t *pool;

static int set_up(void **state)
{
    (void)state;
    return apr_pool_create(&pool, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

#endif
