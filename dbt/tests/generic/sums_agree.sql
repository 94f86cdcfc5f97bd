{# Every level of sums adds up, step by step, to what the series add up to. #}
{% test sums_agree(model, series) %}
select sums.level, sums.step, sums.total, series.total as of_series
from (select level, step, sum(mean) as total from {{ model }} group by level, step) as sums
left join (select step, sum(mean) as total from {{ series }} group by step) as series
    on sums.step = series.step
where series.total is null or abs(sums.total - series.total) > 1e-9 * greatest(1, abs(series.total))
{% endtest %}
