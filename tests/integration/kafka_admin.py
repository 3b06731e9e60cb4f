"""What an operator, or an accident, does to Kafka itself: topics are made with settings of their own
or deleted, records are deleted, groups' offsets are set or deleted.

Through librdkafka's admin interface, as kafka_read.py reads through its consumer. Each function returns
once the broker has answered, and raises Refused with the broker's word where it would not.
"""
import ctypes

from kafka_read import _LIB, _consumer

WAIT_MS = 20000

for _name in ("rd_kafka_DeleteTopic_new", "rd_kafka_DeleteGroup_new", "rd_kafka_queue_new",
              "rd_kafka_DeleteConsumerGroupOffsets_new", "rd_kafka_queue_poll",
              "rd_kafka_event_DeleteTopics_result", "rd_kafka_event_DeleteGroups_result",
              "rd_kafka_event_DeleteConsumerGroupOffsets_result",
              "rd_kafka_group_result_error", "rd_kafka_group_result_partitions",
              "rd_kafka_NewTopic_new", "rd_kafka_event_CreateTopics_result",
              "rd_kafka_DeleteRecords_new", "rd_kafka_event_DeleteRecords_result",
              "rd_kafka_DeleteRecords_result_offsets"):
    getattr(_LIB, _name).restype = ctypes.c_void_p
for _name in ("rd_kafka_DeleteTopics_result_topics", "rd_kafka_CreateTopics_result_topics",
              "rd_kafka_DeleteGroups_result_groups",
              "rd_kafka_DeleteConsumerGroupOffsets_result_groups"):
    getattr(_LIB, _name).restype = ctypes.POINTER(ctypes.c_void_p)


class Refused(RuntimeError):
    """The broker's answer was an error; the text is its name."""


class _Partition(ctypes.Structure):
    """rd_kafka_topic_partition_t"""
    _fields_ = [("topic", ctypes.c_char_p), ("partition", ctypes.c_int32),
                ("offset", ctypes.c_int64), ("metadata", ctypes.c_void_p),
                ("metadata_size", ctypes.c_size_t), ("opaque", ctypes.c_void_p),
                ("err", ctypes.c_int), ("private", ctypes.c_void_p)]


class _PartitionList(ctypes.Structure):
    """rd_kafka_topic_partition_list_t"""
    _fields_ = [("count", ctypes.c_int), ("size", ctypes.c_int),
                ("elements", ctypes.POINTER(_Partition))]


def _check(code):
    if code:
        _LIB.rd_kafka_err2name.restype = ctypes.c_char_p
        raise Refused(_LIB.rd_kafka_err2name(code).decode())


def _admin(kind, request, judge):
    """Sends one request of this kind and has `judge` look at its one result. Takes the request."""
    client = _consumer()
    queue = ctypes.c_void_p(_LIB.rd_kafka_queue_new(client))
    requests = (ctypes.c_void_p * 1)(request)
    getattr(_LIB, f"rd_kafka_Delete{kind}")(client, requests, ctypes.c_size_t(1), None, queue)
    event = ctypes.c_void_p(_LIB.rd_kafka_queue_poll(queue, WAIT_MS))
    try:
        if not event:
            raise Refused("no answer")
        _check(_LIB.rd_kafka_event_error(event))
        result = ctypes.c_void_p(getattr(_LIB, f"rd_kafka_event_Delete{kind}_result")(event))
        count = ctypes.c_size_t()
        what = "topics" if kind == "Topics" else "groups"
        judge(getattr(_LIB, f"rd_kafka_Delete{kind}_result_{what}")(result, ctypes.byref(count))[0])
    finally:
        if event:
            _LIB.rd_kafka_event_destroy(event)
        _LIB.rd_kafka_queue_destroy(queue)
        getattr(_LIB, f"rd_kafka_Delete{kind.rstrip('s') if kind != OFFSETS else kind}_destroy")(
            ctypes.c_void_p(request))
        _LIB.rd_kafka_destroy(client)


OFFSETS = "ConsumerGroupOffsets"


def _judge_group(result):
    error = _LIB.rd_kafka_group_result_error(ctypes.c_void_p(result))
    if error:
        _check(_LIB.rd_kafka_error_code(ctypes.c_void_p(error)))
    partitions = _LIB.rd_kafka_group_result_partitions(ctypes.c_void_p(result))
    if partitions:
        found = ctypes.cast(partitions, ctypes.POINTER(_PartitionList)).contents
        for i in range(found.count):
            _check(found.elements[i].err)


def delete_topic(topic):
    _admin("Topics", _LIB.rd_kafka_DeleteTopic_new(topic.encode()),
           lambda result: _check(_LIB.rd_kafka_topic_result_error(ctypes.c_void_p(result))))


def delete_group(group):
    """With all its offsets. Refused (NON_EMPTY_GROUP) while it has members."""
    _admin("Groups", _LIB.rd_kafka_DeleteGroup_new(group.encode()), _judge_group)


def delete_offsets(group, topic, partitions):
    """Of one topic. Refused (GROUP_SUBSCRIBED_TO_TOPIC) while members read it."""
    wanted = ctypes.c_void_p(_LIB.rd_kafka_topic_partition_list_new(partitions))
    for partition in range(partitions):
        _LIB.rd_kafka_topic_partition_list_add(wanted, topic.encode(), partition)
    request = _LIB.rd_kafka_DeleteConsumerGroupOffsets_new(group.encode(), wanted)
    _LIB.rd_kafka_topic_partition_list_destroy(wanted)
    _admin(OFFSETS, request, _judge_group)


def _ask(send, request, judge):
    """One admin request that is no deletion of topics or groups; `judge` looks at its event."""
    client = _consumer()
    queue = ctypes.c_void_p(_LIB.rd_kafka_queue_new(client))
    getattr(_LIB, send)(client, (ctypes.c_void_p * 1)(request), ctypes.c_size_t(1), None, queue)
    event = ctypes.c_void_p(_LIB.rd_kafka_queue_poll(queue, WAIT_MS))
    try:
        if not event:
            raise Refused("no answer")
        _check(_LIB.rd_kafka_event_error(event))
        judge(event)
    finally:
        if event:
            _LIB.rd_kafka_event_destroy(event)
        _LIB.rd_kafka_queue_destroy(queue)
        _LIB.rd_kafka_destroy(client)


def create_topic(topic, partitions=1, **settings):
    """`settings`: the topic's, with dots written as underscores."""
    why = ctypes.create_string_buffer(256)
    request = _LIB.rd_kafka_NewTopic_new(topic.encode(), partitions, -1, why, 256)
    for name, value in settings.items():
        _LIB.rd_kafka_NewTopic_set_config(ctypes.c_void_p(request),
                                          name.replace("_", ".").encode(), str(value).encode())

    def judge(event):
        count = ctypes.c_size_t()
        result = ctypes.c_void_p(_LIB.rd_kafka_event_CreateTopics_result(event))
        found = _LIB.rd_kafka_CreateTopics_result_topics(result, ctypes.byref(count))
        _check(_LIB.rd_kafka_topic_result_error(ctypes.c_void_p(found[0])))

    _ask("rd_kafka_CreateTopics", request, judge)
    _LIB.rd_kafka_NewTopic_destroy(ctypes.c_void_p(request))


def _place(topic, partition, offset):
    """A list of one partition at an offset; to be destroyed."""
    places = ctypes.c_void_p(_LIB.rd_kafka_topic_partition_list_new(1))
    _LIB.rd_kafka_topic_partition_list_add(places, topic.encode(), partition)
    _check(_LIB.rd_kafka_topic_partition_list_set_offset(places, topic.encode(), partition,
                                                         ctypes.c_int64(offset)))
    return places


def delete_records(topic, partition, before):
    """Those below the offset `before`."""
    places = _place(topic, partition, before)
    request = _LIB.rd_kafka_DeleteRecords_new(places)
    _LIB.rd_kafka_topic_partition_list_destroy(places)

    def judge(event):
        result = ctypes.c_void_p(_LIB.rd_kafka_event_DeleteRecords_result(event))
        offsets = _LIB.rd_kafka_DeleteRecords_result_offsets(result)
        _check(ctypes.cast(offsets, ctypes.POINTER(_PartitionList)).contents.elements[0].err)

    _ask("rd_kafka_DeleteRecords", request, judge)
    _LIB.rd_kafka_DeleteRecords_destroy(ctypes.c_void_p(request))


def commit(group, topic, partition, offset):
    """What a member of the group would have committed; whatever the log holds."""
    client = _consumer(group)
    places = _place(topic, partition, offset)
    try:
        _check(_LIB.rd_kafka_commit(client, places, 0))
    finally:
        _LIB.rd_kafka_topic_partition_list_destroy(places)
        _LIB.rd_kafka_destroy(client)
