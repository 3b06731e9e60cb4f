"""What an operator, or an accident, does to Kafka itself: topics and groups' offsets are deleted.

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
              "rd_kafka_group_result_error", "rd_kafka_group_result_partitions"):
    getattr(_LIB, _name).restype = ctypes.c_void_p
for _name in ("rd_kafka_DeleteTopics_result_topics", "rd_kafka_DeleteGroups_result_groups",
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
