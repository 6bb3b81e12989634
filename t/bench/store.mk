# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The program that measures the store's verbs: make -f t/bench/store.mk [B=DIR] store-bench makes $B/bench/store.
include Makefile.apxs

.PHONY: store-bench
store-bench: $B/bench/store

store_objects := $(patsubst %,$B/obj/t/bench/%.o,store outside latency)

$(store_objects): MORE := $(redis_flags) -It/bench $(if $(redis_sources),-DWITH_REDIS)
# It takes libraries' calls of send() and the like.
$B/obj/t/bench/outside.o: VISIBILITY :=
$B/obj/t/bench/outside.o: MORE += -U_FORTIFY_SOURCE
$B/bench/store: $(store_objects) $(if $(redis_sources),$(redis_objects) $B/obj/src/mod_vapi_state_redis.o) $B/obj/parts.a
	@mkdir -p $(@D)
	$(call show,LD,$@)
	$(Q)$(CC) $(sanitize_link) $(LDFLAGS) -o $@ $^ $(test_libs) $(redis_libs)
