// What a dashboard's JSON may be, by the types that Grafana publishes. They are made of enumerations, where JSON
// has the words and numbers of these; `Plain` takes them.
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as BarGauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { PrometheusDataQuery } from '@grafana/schema/dist/esm/raw/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as StateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

export type Plain<T> = T extends string ? `${T}`
  : T extends number | boolean | bigint | null | undefined ? T
  : T extends Array<infer Item> ? Array<Plain<Item>>
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
  : T;

/// A panel whose options and queries are those of its kind, and nothing else.
type Of<Kind extends string, Options, Custom> =
  Plain<Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'>> & {
    type: Kind;
    options: Plain<Options>;
    targets: Array<Plain<PrometheusDataQuery>>;
    fieldConfig: Plain<Omit<NonNullable<Panel['fieldConfig']>, 'defaults'>> & {
      defaults: Plain<Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'>> & { custom: Plain<Partial<Custom>> };
    };
  };

export type AnyPanel =
  | Of<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  | Of<'stat', Stat.Options, Record<string, never>>
  | Of<'bargauge', BarGauge.Options, Record<string, never>>
  | Of<'state-timeline', StateTimeline.Options, StateTimeline.FieldConfig>
  | Of<'table', Table.Options, Table.FieldConfig>
  | Plain<RowPanel>;

export type Whole = Plain<Omit<Dashboard, 'panels' | 'annotations'>> & {
  panels: AnyPanel[];
  annotations: { list: Array<Plain<AnnotationQuery<PrometheusDataQuery>>> };
};
