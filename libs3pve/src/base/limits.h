/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * limits.h - every bound on what comes from outside, and on what we hold, with its reason
 *
 * Sources: [S3] the S3 API reference's published limits; [C] s3 servers as measured or read, see
 * DESIGN.md "What S3 servers really do".
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* --- names */
#define LIMIT_KEY 1024        /* bytes of an object key, prefix included [S3] */
#define LIMIT_KEY_SEGMENT 255 /* bytes between two slashes; MinIO and SeaweedFS keep files [C] */
#define LIMIT_BUCKET 63       /* characters of a bucket name [S3] */
#define LIMIT_BUCKET_MIN 3
#define LIMIT_ENDPOINT 512   /* characters of an endpoint URL: a host name is at most 253 */
#define LIMIT_OPTION 4096    /* characters of an option's value: session tokens reach 2 KiB */
#define LIMIT_UPLOAD_ID 1024 /* characters of a multipart upload id; AWS uses about 130 */
#define LIMIT_TOKEN 4096     /* characters of a continuation token, opaque */
#define LIMIT_KEYFILE 65536  /* bytes of a settings or credentials file */
#define LIMIT_CAPS_TEXT 4096 /* bytes of a written probe result; about 350 */
#define LIMIT_URL 8192       /* characters of a request URL: three per byte of key, and a token */

/* --- what a server may send */
#define LIMIT_HEADER_LINE 8192       /* bytes of one response header we look at */
#define LIMIT_HEADERS 200            /* response headers of one answer */
#define LIMIT_REPLY (8u << 20)       /* bytes of an XML answer: 1000 keys are about 400 KiB */
#define LIMIT_ERROR_BODY (64u << 10) /* bytes of an error document worth reading */
#define LIMIT_XML_DEPTH 16           /* S3's deepest answer nests 5 */
#define LIMIT_XML_TEXT 16384         /* bytes of one element's text */
#define LIMIT_LIST_PAGE 1000         /* keys a page [S3] */
#define LIMIT_LIST_ENTRIES 20000     /* names in one page, for servers that send more than asked */
#define LIMIT_LIST_PAGES 100000 /* pages of one listing: 10^8 keys; stops a server that loops */
#define LIMIT_DELETE_BATCH 1000 /* keys in one DeleteObjects [S3] */

/* --- objects */
#define LIMIT_PUT GIB(5)       /* bytes in one PUT or CopyObject [S3] */
#define LIMIT_PART_MIN MIB(5)  /* bytes of a part that is not the last [S3] */
#define LIMIT_PART GIB(5)      /* [S3] */
#define LIMIT_PARTS 10000      /* [S3]; 1000 at some providers, see their preset */
#define LIMIT_COPY 4900000000u /* bytes in one CopyObject at B2 and R2, which count in tens [C] */
#define LIMIT_OBJECT (GIB(1) * 5120) /* 5 TiB, the size every provider takes [S3] */

/* --- time, milliseconds */
#define CONNECT_MS 5000 /* a LAN answers in 1, a continent in 300 */
#define CALL_MS 120000  /* a call's timeout unless its caller says otherwise */
#define CALL_MS_MAX 3600000
#define SLOW_LINE_BYTES_MS 16    /* of a body, at least, or its time is up: 1 Mbit/s for 4 parts */
#define REFUSED_TIMES 3          /* timeouts, for a store that only ever says "later" ... */
#define REFUSED_MS 120000        /* ... and at least so long: many do so for a minute */
#define STALE_SHARE 4            /* of a request's time: its last, for a new connection */
#define LOW_SPEED_BYTES 1024     /* slower than this a second ... */
#define LOW_SPEED_S 30           /* ... for so long is a dead peer */
#define COMPLETE_LOW_SPEED_S 300 /* Complete and Copy may be silent for minutes [S3] */
#define RESOLVE_MS 5000     /* beyond a deadline, to read what became of a write that ran into it */
#define COPY_BYTES_MS 8192  /* a server-side copy may take a millisecond for so many bytes */
#define CREDS_EARLY_S 300   /* renew temporary keys so long before their end ... */
#define CREDS_AGAIN_S 30    /* ... and try again after this where that failed */
#define SKEW_TOLERATED_S 60 /* correct our clock offset beyond this */
#define SKEW_SUSPECT_S 240  /* a 403 beyond it blames the clock: some allow 300 only [C] */
#define IDLE_CONNECTION_S 55 /* RGW drops idle connections at 65 s [C]; stale ones are retried */

/* --- retries; see retry.h */
#define BACKOFF_BASE_MS 50       /* a server's or network's hiccup */
#define BACKOFF_THROTTLE_MS 1000 /* "slow down" */
#define BACKOFF_CAP_MS 20000
#define RETRY_AFTER_CAP_MS 60000 /* what we believe a Retry-After of */
#define RETRY_BUDGET 500         /* tokens: an outage must not multiply the load ... */
#define RETRY_COST 14            /* ... so a retry costs these, a throttled one less ... */
#define RETRY_COST_THROTTLE 5
#define RETRY_REFUND 1  /* ... a success gives some back ... */
#define RETRY_EARN_S 10 /* ... and each second: 16 parts outlast a minute of "slow down" */

#define PROBE_WRITERS                                                                              \
    16                /* of one key at once: half of them won where two did, in known cases ... */
#define PROBE_RACES 4 /* ... so often, twice each */

#define RESOLVE_TRIES 6       /* lost answers in a row to one conditional write or Complete ... */
#define RESOLVE_TRIES_LATE 3  /* ... and when the call's time is nearly up ... */
#define RESOLVE_PAUSE_MS 1000 /* between two of them; then twice as long, and so on */

/* --- memory and parallelism */
#define CONNECTIONS_DEFAULT 16
#define CONNECTIONS_MAX 64
#define PART_DEFAULT MIB(16)    /* where transfers are no longer bound by round trips [C] */
#define STREAM_MEMORY MIB(64)   /* part buffers of one upload while parts are small */
#define STORAGE_MEMORY MIB(256) /* part buffers of all uploads of one client */
#define PART_FEW MIB(64)       /* the first part where 1000 must do, and all where they are equal */
#define PART_LAST GIB(1)       /* where growing stops: 10,000 parts reach 5 TiB */
#define PART_GROW_PERCENT 9    /* of max_parts; then parts double, see DESIGN.md, "Uploads" */
#define PARTS_IN_FLIGHT 4      /* of one upload */
#define READ_CHUNK MIB(4)      /* one range request of a sequential read */
#define READ_AHEAD_MAX MIB(32) /* in flight or waiting, per open file */
#define GET_STRETCH                                                                                \
    MIB(32)                   /* a download looks so often whether more connections would help ... \
                               */
#define GET_FAST (MIB(1) / 4) /* ... unless one brings so much a millisecond: a LAN, a disk */
#define GET_GATHER KIB(256)   /* written at once */
#define CACHE_BLOCK MIB(1)    /* unit of the node's read cache */
#define COPY_PART MIB(256)    /* moved inside the store: only its round trips count */
#define COPIES_IN_FLIGHT 8    /* of one server-side copy */
#define DELETES_IN_FLIGHT 8   /* where the server deletes one by one */
#define SMALL_OBJECT KIB(64)  /* bytes; kept in memory when read: notes, logs */

/* --- files */
#define DIR_TTL_MS 4000   /* age of a listing; with the second the kernel believes a name, 5 s */
#define SPOOL_MAX GIB(64) /* files written out of order, kept on the node until close */
#define LOCAL_MAX GIB(4)  /* vzdump's working directories: configuration files and logs */
#define OPEN_FILES_MAX 1024
#define TREE_MAX 2000000        /* names in memory, about 300 bytes each */
#define DIR_ENTRIES_MAX 1000000 /* names one listing may bring */
#define HEAD_MAX MIB(16)        /* start of a file kept in memory, where rewriting is free */
#define LISTING_THREADS 4
#define READER_THREADS 16
#define PREFETCH_THREADS 8     /* of these, for what will probably be read next */
#define LISTING_MS 30000       /* one page of a listing */
#define LISTING_WAIT_MS 2000   /* an access to an old directory waits no longer than this ... */
#define LISTING_FIRST_MS 10000 /* ... and to one never seen than this */
#define LISTING_AGAIN_MS 2000  /* between two attempts that fail */
#define READ_MS 30000          /* bytes nobody has cached */
#define NAME_MS 15000          /* a name made, moved or removed: the kernel keeps others ... */
                               /* ... out of its directory so long, and PVE waits for 30 s */
#define OFFLINE_MS 5000        /* either of them, while the store is known not to answer ... */
#define OFFLINE_AGAIN_MS 1000  /* ... and a name's behind another that just waited for that */
#define OFFLINE_NEWS_MS 10000  /* ... which is no longer just now */
#define KEY_LINGER_MS 5000     /* a change that was not waited for may still arrive */
#define WRITER_WAIT_MS 1000    /* for a writer that is about to be gone */
#define RELEASE_WAIT_MS 100    /* for the kernel to say that he is, once he has published */
#define CHECK_MS 5000          /* the heartbeat's request */
#define CHECK_EVERY_MS 10000   /* ... and how often, while nothing else proves the store alive */
#define COUNT_EVERY_MS 600000  /* used bytes are listed anew */
#define COUNT_SHARE 20         /* ... but counting takes at most this part of the time */
#define ORPHAN_S (7 * 86400)   /* age at which an upload below our directories is nobody's */
#define RETRY_ABORT_MS 60000   /* between attempts to abort what an outage kept us from aborting */
#define BLOCKS_MEMORY MIB(16)  /* recent blocks and small objects */
#define CACHE_KEEP_FREE_PCT 5  /* of the cache's file system, left alone */
#define NOTIFY_MAX 1000        /* names told to the kernel after one listing; it finds the rest */

/* --- volumes: the first ten are part of their format */
#define SEGMENT_BLOCKS_MAX 8192u   /* blocks of a segment's data: 32 MiB in one PUT */
#define SEGMENT_EXTENTS_MAX 16384u /* what BATCH_WRITES_MAX writes may show */
#define SEGMENT_HEADER_MAX MIB(1)  /* so many extents, and as many sums as blocks, take 672 KiB */
#define JRECORD_DATA_MAX 1024u     /* blocks of a record's data: what is larger is several */
#define JRECORD_ENTRIES_MAX 1024u  /* writes in a record */
#define JRECORD_HEADER_MAX (8 * KIB(4)) /* for all of them, and the sums */
#define PAGE_BYTES_MAX KIB(24)          /* of a leaf or node page: 1024 refs take 20 KiB */
#define MAP_PAGES_MAX 16384u            /* pages of a MAP object */
#define MAP_NODES_MAX (1u << 22)        /* of a map: its leaves have numbers of 32 bits */
#define VOLUME_BYTES_MAX (GIB(1) << 24) /* just so many nodes */
#define BATCH_WRITES_MAX 8192u          /* n runs, the newest on top, show at most 2n - 1 extents */
#define JRECORDS_IN_FLIGHT 2u           /* one is written while the next is filled */
#define ROOT_BYTES_MAX MIB(1)           /* of volume.json: 20 KiB with a hundred snapshots */
#define ROOT_EPOCHS_MAX 1000u           /* openings since the last checkpoint */
#define ROOT_EPOCHS_MANY 32u            /* ... after which there is one as soon as may be */
#define MAP_OBJECT_BYTES MIB(8)        /* of pages in a MAP object: the next ones go into another */
#define PAGES_IN_FLIGHT 32u            /* fetched at once for one segment */
#define PAGES_AT_OPENING 1024u         /* or while it is opened, when there is nothing else to do */
#define CHECKPOINT_BLOCKS 262144u      /* of data since the last checkpoint: 1 GiB ... */
#define CHECKPOINT_PAGES 4u            /* ... and so often what its pages will take */
#define CHECKPOINT_SEGMENTS 2048u      /* or so many, to read the headers of at an opening */
#define CHECKPOINT_AGE_MS (30 * 60000) /* or so long */
#define CHECKPOINT_AGAIN_MS 10000      /* after one that could not be published */

/* --- the NBD server */
#define NBD_NAME 255           /* bytes of an export's name; the protocol allows 4096 */
#define NBD_EXPORTS 4096       /* disks of a node */
#define NBD_CONNECTIONS 1024   /* at once, of all exports; QEMU needs one a disk */
#define NBD_OPTION KIB(16)     /* bytes of an option: two names of 4096 and some contexts */
#define NBD_INPUT KIB(64)      /* read from a connection at once */
#define NBD_PAYLOAD MIB(32)    /* bytes of one read or write; QEMU sends no more */
#define NBD_CONN_BYTES MIB(32) /* in flight of one connection: QEMU has 16 times 2 MiB ... */
#define NBD_CONN_REQUESTS 128  /* ... others have up to 64, nbd.ko 128 */
#define NBD_BYTES MIB(256)     /* in flight of all connections */
#define NBD_PAGES_KEPT MIB(32) /* of these, kept while nothing is in flight: a busy client's */
#define NBD_EXTENTS 4096       /* in one answer; who wants more asks again */
#define NBD_HANDSHAKE_MS 10000 /* to say which export; it takes one */
#define NBD_STALL_MS 30000     /* for the rest of a message, or to take one, if others wait */

/* --- volumes on a node */
#define JOURNAL_RING GIB(1)       /* of a new journal: so much is written while the store is away */
#define JOURNAL_RING_MIN MIB(64)  /* ... and of a small volume's, which has twice its size else */
#define JOURNAL_SPARES 8          /* journals kept for the volumes that are opened next */
#define JOURNAL_KEEP_FREE_PCT 5   /* of the node's file system, which a new journal leaves alone */
#define JOURNAL_WRITE_BACK MIB(8) /* written to it before the kernel is told to begin */
#define JOURNAL_IOV 1024          /* pieces of one write(2), the kernel's own bound */
#define READ_LINE 16u             /* blocks: unit of the cache and of cold random reads */
#define READ_RUN MIB(1)           /* one range request, and what its thread holds meanwhile */
#define READ_PARTS 8u             /* of a scattered read, fetched side by side */
#define READCACHE_MIN MIB(64)     /* in memory, where it cannot be on the disk */
#define HEADERS_AHEAD 32          /* of segments, asked for at once at an opening */
#define SEAL_AGE_MS 5000          /* what a lost node may cost with durability `node` */
#define VOLUME_PUTS 8u            /* segments of a volume on their way */
#define VOLUME_MAP_MEMORY                                                                          \
    MIB(256)                      /* of a volume's map: 1 TiB of random writes would take 2 GiB    \
                                   */
#define VOLUME_GRACE_MS 600000    /* before what a checkpoint does not need is deleted */
#define ROOT_OBJECT_MAX MIB(256)  /* of a checkpoint's root page: 100 MiB with 64 TiB */
#define SEGMENT_BLOCKS 2048u      /* of a new volume's segments: 8 MiB in one PUT */
#define FILE_ROOM MIB(64)         /* of a new file, before it first has to grow */
#define FILE_THREADS 8            /* that wait for room for files, or for their length to be safe */
#define LENGTH_AGE_MS 5000        /* of a length that the root does not have */
#define LOST_JOURNAL_DAYS 30u     /* that one of a lost epoch is kept, for people */
#define LIST_ROOTS 16             /* read at once */
#define VOLUME_LINGER_MS 10000    /* open, and nobody uses it: a tool may come back */
#define LOOK_AGAIN_MS 5000        /* at the root of what could not be opened */
#define RECOVER_THREADS 8         /* that open volumes again after a start */
#define BACKGROUND_THREADS 4      /* that hand back what nobody uses */
#define BACKGROUND_MS 60000       /* for one of these ... */
#define BACKGROUND_AGAIN_MS 10000 /* ... and before it is tried again */
#define INSPECT_THREADS 8         /* that read a volume to check or export it; 8 MiB each */
#define COPY_SUMS 256             /* segments whose sums are kept meanwhile; 32 KiB each */
#define UPLOAD_THREADS 8          /* for all volumes; each holds a segment */
#define REMOTE_THREADS 16         /* that wait for the bucket; each holds a READ_RUN */
#define LOCAL_THREADS 8           /* that wait for the node's disk */
#define RUNTIME_FEW 16            /* blocks of a request whose sums take no memory of their own */
#define STREAMS_MAX 4             /* readers in order that are told apart */
#define VOLUME_AHEAD_MIN KIB(256) /* asked for ahead of one, at first ... */
#define VOLUME_AHEAD_MAX MIB(8)   /* ... and in the end */
#define VOLUME_AHEAD_REQUESTS 8   /* READ_RUNs of that at once, of a volume */
#define CANCEL_LOOK_MS 50         /* between two looks at whether a call is to end */
#define ROOT_LOOK_MS 10           /* ... and at whether a checkpoint is published */
#define WAKE_MIN_MS 100           /* between two looks at whether it is time */
#define LEASE_LOOK_MS 500         /* and at the lease, while a flush waits */
#define VOLUME_CALL_MS 30000      /* one request for a volume, tried as often as that allows */
#define VOLUME_AGAIN_MS 100       /* wait before another, which then doubles ... */
#define VOLUME_AGAIN_MAX_MS 10000 /* ... up to this: so late it is seen that the store is back */
#define ARBITER_LIFE_MS 120000    /* Proxmox VE gives a lock away that so long was not renewed */
#define ARBITER_WAIT_MS 180000    /* for one: a dead node's is waited for, and those before us */
#define LEASE_RENEW_MS 10000      /* a node says so often that it lives ... */
#define LEASE_VALID_MS 35000      /* ... believes it for so long, three tries and a slow one ... */
#define LEASE_OBSERVE_MS 50000    /* ... and is believed dead when nothing changed for so long */

/* --- the daemon */
#define NAME_OF_STORAGE                                                                            \
    80 /* bytes of a storage's name in paths: a socket's path is at most 107                       \
        */
#define NAME_OF_STORAGE_KEPT                                                                       \
    47 /* ... of a longer storage id before "-" and a hash, see DESIGN.md 8 */
#define CONFIG_FILE_MAX KIB(256)      /* bytes of the daemon's configuration; real ones are 1 KiB */
#define STORAGE_CFG_MAX MIB(1)        /* pmxcfs keeps no larger file */
#define VIRTUAL_SIZE (GIB(1) << 20)   /* 1 PiB: what a storage without a quota shows as its size */
#define CONTROL_LINE KIB(64)          /* bytes of one request line */
#define CONTROL_CLIENTS 64            /* at once; the plugin needs one a worker */
#define CONTROL_WAITING 48            /* of them with commands that wait: `status` never does */
#define VOLUME_COMMAND_MS 120000      /* such a command, unless it says how long */
#define VOLUME_COMMAND_MS_MAX 3600000 /* a full journal takes an hour at 0.3 MB/s */
#define EXPORT_CLIENTS_MS 5000        /* for NBD clients to hang up, before a volume is in use */
#define EXPORT_CACHE_AHEAD MIB(32)    /* of what one would like to have cached */
#define CONTROL_IDLE_MS 10000         /* to send one whole line, or to take one */
#define FUSE_WAITING 16               /* requests of one kind that may wait for the store at once */
#define FUSE_THREADS 80       /* of each kind that waits, and some for what comes from memory */
#define FUSE_THREADS_IDLE 8   /* kept when there is nothing to do; each holds 1 MiB or two */
#define FUSE_QUEUED 256       /* requests waiting for their turn; more are refused */
#define FUSE_BACKGROUND 64    /* readahead requests the kernel may have in flight */
#define FUSE_WRITE MIB(1)     /* bytes of one read or write; the kernel's own bound */
#define FUSE_AHEAD MIB(2)     /* the kernel reads ahead; our window, not this, hides the distance */
#define IMAGES_MAX (1u << 20) /* names below images/ in memory */
#define IMAGES_STEP (GIB(1))  /* of what is made zeroes, or searched for holes, at once */
#define IMAGES_CLEAR MIB(4)   /* a disk in use that rm(1) empties: the state of a TPM */
#define IMAGES_LOOK_MS 500    /* whether the process that waits for a request was killed */
#define IMAGES_OPEN_MS 120000 /* an image: another node's lease may have to run out */
#define IMAGES_CLOSING_MS 2000 /* for a close that the kernel has yet to tell */
#define IMAGES_AGAIN_MS 5000   /* between two attempts to delete what was unlinked */
#define IMAGES_END_MS 1000     /* for images to be given back when the mount ends */
#define INVALIDATIONS 4096     /* queued for the kernel; more may be lost, they age in 1 s */
#define INVALIDATION_MS 1000   /* for the kernel to take them, if it is waited for */
#define STOP_GRACE_MS 10000    /* for files being closed when the daemon is told to stop */
#define STOP_MS 30000          /* after that the process ends, whatever is stuck */

#endif
