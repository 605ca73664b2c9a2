/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints: events/teramem in tracefs. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM teramem

#if !defined(TM_KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TM_KMOD_TRACE_H

#include <linux/tracepoint.h>

#include "include/teramem/uapi.h"

/* clang-format off */

DECLARE_EVENT_CLASS(tm_block,
	TP_PROTO(const char *space, u64 block, int how),
	TP_ARGS(space, block, how),
	TP_STRUCT__entry(
		__array(char, space, TM_UAPI_NAME_MAX)
		__field(u64, block)
		__field(int, how)
	),
	TP_fast_assign(
		strscpy(__entry->space, space, TM_UAPI_NAME_MAX);
		__entry->block = block;
		__entry->how = how;
	),
	TP_printk("space=%s block=%llu %s", __entry->space, __entry->block,
		  __entry->how ? "write" : "read")
);

/* a thread of the program is about to wait for a block */
DEFINE_EVENT(tm_block, tm_fault,
	TP_PROTO(const char *space, u64 block, int how),
	TP_ARGS(space, block, how)
);

/* a block was taken out of the program's page tables */
DEFINE_EVENT_PRINT(tm_block, tm_evict,
	TP_PROTO(const char *space, u64 block, int how),
	TP_ARGS(space, block, how),
	TP_printk("space=%s block=%llu %s", __entry->space, __entry->block,
		  __entry->how < 0 ? "pinned" :
		  __entry->how ? "dirty" : "clean")
);

DECLARE_EVENT_CLASS(tm_transfer,
	TP_PROTO(const char *space, u64 block, u32 nr, u32 server),
	TP_ARGS(space, block, nr, server),
	TP_STRUCT__entry(
		__array(char, space, TM_UAPI_NAME_MAX)
		__field(u64, block)
		__field(u32, nr)
		__field(u32, server)
	),
	TP_fast_assign(
		strscpy(__entry->space, space, TM_UAPI_NAME_MAX);
		__entry->block = block;
		__entry->nr = nr;
		__entry->server = server;
	),
	TP_printk("space=%s block=%llu nr=%u server=%u", __entry->space,
		  __entry->block, __entry->nr, __entry->server)
);

/* blocks that lie one after the other on the server, from this one on */
DEFINE_EVENT(tm_transfer, tm_fetch,
	TP_PROTO(const char *space, u64 block, u32 nr, u32 server),
	TP_ARGS(space, block, nr, server)
);

DEFINE_EVENT(tm_transfer, tm_store,
	TP_PROTO(const char *space, u64 block, u32 nr, u32 server),
	TP_ARGS(space, block, nr, server)
);

/* clang-format on */
#endif /* TM_KMOD_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH kmod
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
